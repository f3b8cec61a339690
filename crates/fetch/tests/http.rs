//! HTTP against servers on the loopback device: what is asked, what is repeated, what is final.

mod server;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hardway_fetch::{FetchError, Fetcher};
use hardway_ignition::operation::Fetching;
use server::{Answer, Server, answer, redirect};

fn within(total: u32) -> Fetching {
    Fetching {
        total,
        ..Fetching::default()
    }
}

fn fetch(fetching: &Fetching, url: &str, headers: &[(&str, &str)]) -> Result<String, FetchError> {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let headers: Vec<_> = headers.iter().map(owned).collect();
    let bytes = Fetcher::new(fetching)?.fetch(url, &headers, 1 << 20)?;
    Ok(String::from_utf8(bytes).expect("text"))
}

#[test]
fn a_request_says_who_asks_for_what() {
    let server = Server::start(vec![answer("200 OK", "body")]);
    let url = server
        .url("/a b?c=d#e")
        .replace("http://", "http://me:secret@");
    assert_eq!(fetch(&within(5), &url, &[]).expect("fetched"), "body");
    let version = env!("CARGO_PKG_VERSION");
    let address = server.address;
    let expected = format!(
        "GET /a%20b?c=d HTTP/1.1\n\
         Host: {address}\n\
         Accept: application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1\n\
         Accept-Encoding: identity\n\
         User-Agent: Ignition/2.26.0 (hardway {version})\n\
         Authorization: Basic bWU6c2VjcmV0\n\
         Connection: close\n"
    );
    assert_eq!(server.heads(), [expected]);
}

#[test]
fn headers_of_the_configuration_take_the_place_of_the_usual_ones() {
    let server = Server::start(vec![answer("200 OK", "")]);
    let headers = [
        ("Keep-Alive", "1000"),
        ("accept", "application/json"),
        ("Accept-Encoding", "identity, compress"),
        ("User-Agent", "first"),
        ("User-Agent", "MyUA"),
        ("Host", "elsewhere"),
        ("Content-Length", "7"),
    ];
    fetch(&within(5), &server.url("/"), &headers).expect("fetched");
    let expected = format!(
        "GET / HTTP/1.1\n\
         Host: {}\n\
         Keep-Alive: 1000\n\
         accept: application/json\n\
         Accept-Encoding: identity, compress\n\
         User-Agent: MyUA\n\
         Connection: close\n",
        server.address
    );
    assert_eq!(server.heads(), [expected]);
    for (name, value) in [("X", "a\r\nY: b"), ("X Y", "a"), ("", "a"), ("X:", "a")] {
        let refused = fetch(&within(5), &server.url("/"), &[(name, value)]);
        assert!(matches!(refused, Err(FetchError::Header { .. })), "{name}");
    }
}

#[test]
fn headers_of_the_configuration_do_not_go_where_a_redirect_leads() {
    let target = Server::start(vec![answer("200 OK", "there")]);
    let server = Server::start(vec![redirect("/next"), redirect(&target.url("/x"))]);
    let headers = [("X-Auth", "secret"), ("Accept", "mine")];
    let body = fetch(&within(5), &server.url("/first"), &headers);
    assert_eq!(body.expect("fetched"), "there");
    let asked = server.heads();
    assert!(asked[0].contains("X-Auth: secret") && asked[0].contains("Accept: mine"));
    for head in [&asked[1], &target.heads()[0]] {
        assert!(!head.contains("X-Auth"), "{head}");
        assert!(head.contains("Accept: application/vnd.coreos"), "{head}");
    }
    assert!(asked[1].starts_with("GET /next HTTP/1.1\n"), "{asked:?}");
}

#[test]
fn redirects_come_to_an_end() {
    let server = Server::start(vec![redirect("/again")]);
    let refused = fetch(&within(5), &server.url("/"), &[]);
    assert!(
        matches!(refused, Err(FetchError::Redirects { limit: 10, .. })),
        "{refused:?}"
    );
    assert_eq!(server.heads().len(), 11);
}

#[test]
fn a_servers_error_is_repeated_and_another_status_is_final() {
    let server = Server::start(vec![
        answer("503 Service Unavailable", "later"),
        answer("500 Oops", ""),
        answer("200 OK", "body"),
    ]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = told.clone();
    let fetcher = Fetcher::new(&within(10))
        .expect("a fetcher")
        .telling(move |failure, pause| {
            let mut told = list.lock().expect("no panic");
            told.push((failure.to_string(), pause.as_millis()));
        });
    let url = server.url("/");
    let bytes = fetcher.fetch(&url, &[], 100).expect("fetched at last");
    assert_eq!(bytes, b"body");
    let told = told.lock().expect("no panic").clone();
    assert_eq!(
        told,
        [
            (format!("{url} answers 503"), 200),
            (format!("{url} answers 500"), 400)
        ]
    );
    for status in [
        "404 Not Found",
        "400 Bad Request",
        "304 Not Modified",
        "201 Created",
    ] {
        let server = Server::start(vec![answer(status, "words")]);
        let refused = fetch(&within(5), &server.url("/"), &[]).expect_err("final");
        let number = &status[..3];
        assert_eq!(
            refused.to_string(),
            format!("{} answers {number}", server.url("/"))
        );
        assert_eq!(server.heads().len(), 1, "{status}");
    }
}

#[test]
fn a_refused_connection_is_repeated_until_the_time_is_up() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", free.local_addr().expect("its address"));
    drop(free);
    let start = Instant::now();
    let refused = fetch(&within(1), &url, &[]).expect_err("nobody is there");
    assert!(start.elapsed() < Duration::from_secs(2));
    let text = refused.to_string();
    let beginning = format!("{url}: not fetched within 1s: {url}: connecting to 127.0.0.1:");
    assert!(text.starts_with(&beginning), "{text}");
}

#[test]
fn an_answer_that_is_late_is_repeated() {
    let server = Server::start(vec![Answer::Silence, answer("200 OK", "body")]);
    let fetching = Fetching {
        response_headers: 1,
        ..within(5)
    };
    let body = fetch(&fetching, &server.url("/"), &[]);
    assert_eq!(body.expect("fetched"), "body");
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn the_total_counts_for_the_headers_too() {
    let server = Server::start(vec![Answer::Silence]);
    let start = Instant::now();
    let refused = fetch(&within(1), &server.url("/"), &[]).expect_err("no answer");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(
        refused
            .to_string()
            .ends_with("waiting for the answer: the time is up"),
        "{refused}"
    );
}

#[test]
fn the_total_counts_for_the_body_too() {
    let server = Server::dressed(vec![Answer::Silence], |mut stream| {
        use std::io::Write as _;
        // The beginning of a body comes before the request is even read.
        let beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
        stream.write_all(beginning).ok().map(|()| stream)
    });
    let start = Instant::now();
    let refused = fetch(&within(1), &server.url("/"), &[]).expect_err("half a body");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(refused.to_string().contains("the time is up"), "{refused}");
    let patience = Duration::from_millis(300);
    let fetcher = Fetcher::new(&within(0)).expect("a fetcher");
    let refused = fetcher
        .giving_up_after(patience)
        .fetch(&server.url("/"), &[], 100);
    assert!(refused.is_err() && start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_body_is_whole_or_an_error() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (bytes, expected) in [
        (
            format!("{chunked}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            Some("abcde"),
        ),
        (format!("{chunked}3\r\nabc\r\n"), None),
        (
            "HTTP/1.0 200 OK\r\n\r\nto the end".to_owned(),
            Some("to the end"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned(),
            None,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Some("")),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
                .to_owned(),
            Some("x"),
        ),
    ] {
        let server = Server::start(vec![Answer::Bytes(bytes.clone().into_bytes())]);
        let body = fetch(&within(5), &server.url("/"), &[]).ok();
        assert_eq!(body.as_deref(), expected, "{bytes:?}");
    }
    let server = Server::start(vec![answer("200 OK", &"x".repeat(101))]);
    let fetcher = Fetcher::new(&within(5)).expect("a fetcher");
    let refused = fetcher.fetch(&server.url("/"), &[], 100);
    assert!(matches!(
        refused,
        Err(FetchError::TooLong { limit: 100, .. })
    ));
}

#[test]
fn a_proxy_is_asked_by_whole_urls() {
    let proxy = Server::start(vec![answer("200 OK", "by proxy")]);
    let direct = Server::start(vec![answer("200 OK", "direct")]);
    let fetching = Fetching {
        http_proxy: Some(format!("http://me:pw@{}", proxy.address)),
        no_proxy: vec!["10.0.0.0/8".into()],
        ..within(5)
    };
    let body = fetch(&fetching, "http://www.fake.tld:81/x?y", &[]);
    assert_eq!(body.expect("fetched"), "by proxy");
    let head = &proxy.heads()[0];
    assert!(
        head.starts_with("GET http://www.fake.tld:81/x?y HTTP/1.1\nHost: www.fake.tld:81\n"),
        "{head}"
    );
    assert!(
        head.contains("\nProxy-Authorization: Basic bWU6cHc=\n"),
        "{head}"
    );
    // This machine itself is asked directly.
    let body = fetch(&fetching, &direct.url("/"), &[]);
    assert_eq!(body.expect("fetched"), "direct");
    assert!(!direct.heads()[0].contains("Proxy"));
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "/file", "ftp://a/b", "http://", "data:,x", "s3://a/b"] {
        let refused = fetch(&within(5), url, &[]);
        assert!(matches!(refused, Err(FetchError::Url { .. })), "{url}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_what_is_encrypted_is_named() {
    let server = Server::start(vec![redirect("https://127.0.0.1:1/x")]);
    let url = server.url("/");
    let behind_proxy = Fetching {
        http_proxy: Some("https://proxy:1".into()),
        ..within(5)
    };
    for (fetching, url, peer) in [
        (&within(5), url.as_str(), "https://127.0.0.1:1/x"),
        (&within(5), "https://a/b", "https://a/b"),
        (&behind_proxy, "http://a/b", "https://proxy:1/"),
    ] {
        let refused = fetch(fetching, url, &[]).expect_err("refused");
        let text = "is asked over TLS, which this program does not have";
        assert_eq!(refused.to_string(), format!("{url}: {peer} {text}"));
    }
}
