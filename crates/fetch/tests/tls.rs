//! HTTPS against servers with certificates made here: who is trusted, proxies, and the program
//! `hardway-fetch`.

#![cfg(feature = "tls")]

mod server;

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hardway_fetch::{FetchError, Fetcher};
use hardway_ignition::operation::Fetching;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use server::{Answer, Server, answer, read_head, redirect};

/// What a server shows, and the PEM of the authority behind it.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    authority: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).expect("a key")
}

/// A certificate for `name` that an authority has signed.
fn issued(name: &str) -> Identity {
    let authority_key = KeyPair::generate().expect("a key");
    let of_name = authority(&format!("authority of {name}"));
    let pem = of_name.self_signed(&authority_key).expect("signed").pem();
    let issuer = Issuer::new(of_name, authority_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    Identity {
        certificate: certificate.der().clone(),
        key: private(&key),
        authority: pem,
    }
}

/// An authority's own certificate, `change`d.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let mut params = authority("itself");
    change(&mut params);
    let certificate = params.self_signed(&key).expect("signed");
    Identity {
        certificate: certificate.der().clone(),
        key: private(&key),
        authority: certificate.pem(),
    }
}

/// A server over TLS, and its `https` URL.
fn serve(identity: &Identity, answers: Vec<Answer>) -> (Server, String) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let server = Server::dressed(answers, move |stream| {
        let connection = ServerConnection::new(config.clone()).ok()?;
        Some(StreamOwned::new(connection, stream))
    });
    let url = format!("https://{}/file", server.address);
    (server, url)
}

fn trusting(authorities: &[&str]) -> Fetching {
    Fetching {
        authorities: authorities.iter().map(|pem| pem.to_string()).collect(),
        total: 30,
        ..Fetching::default()
    }
}

fn fetch(fetching: &Fetching, url: &str) -> Result<Vec<u8>, FetchError> {
    Fetcher::new(fetching)?.fetch(url, &[], 1 << 20)
}

#[test]
fn a_configured_authority_is_trusted() {
    let (own, other) = (issued("127.0.0.1"), issued("other.test"));
    let body = "x".repeat(100_000);
    let (server, url) = serve(&own, vec![answer("200 OK", &body)]);
    // A bundle of several stands in one text.
    let bundle = format!("{}\n{}", other.authority, own.authority);
    let fetched = fetch(&trusting(&[&bundle]), &url).expect("fetched");
    assert!(fetched == body.as_bytes());
    assert!(server.heads()[0].starts_with("GET /file HTTP/1.1\n"));
}

#[test]
fn an_authoritys_own_certificate_may_be_a_servers() {
    let own = self_signed(|_| {});
    let (_server, url) = serve(&own, vec![answer("200 OK", "body")]);
    let fetched = fetch(&trusting(&[&own.authority]), &url);
    assert_eq!(fetched.expect("fetched"), b"body");
}

#[test]
fn a_server_that_is_not_trusted_is_final() {
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let elsewhere = |params: &mut CertificateParams| {
        *params = CertificateParams::new(vec!["elsewhere".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let unknown = "no authority that is known here";
    let other = issued("other.test").authority;
    for (identity, configured, cause) in [
        (issued("127.0.0.1"), None, unknown),
        (issued("127.0.0.1"), Some(other.clone()), unknown),
        (
            self_signed(|_| {}),
            Some(other),
            "an authority which is not configured",
        ),
        (issued("elsewhere"), None, unknown),
        (self_signed(expired), None, "expired"),
        (self_signed(elsewhere), None, "not valid for name"),
    ] {
        let (_server, url) = serve(&identity, vec![answer("200 OK", "secret")]);
        let own = (cause != unknown).then(|| identity.authority.clone());
        let configured: Vec<String> = configured.or(own).into_iter().collect();
        let configured: Vec<&str> = configured.iter().map(String::as_str).collect();
        let start = Instant::now();
        let refused = fetch(&trusting(&configured), &url).expect_err("not trusted");
        assert!(matches!(refused, FetchError::Trust { .. }), "{refused}");
        assert!(
            refused.to_string().contains(cause),
            "{refused}, not {cause}"
        );
        assert!(start.elapsed() < Duration::from_secs(10), "not repeated");
    }
}

#[test]
fn an_encrypted_answer_that_is_late_is_repeated() {
    let own = issued("127.0.0.1");
    let (server, url) = serve(&own, vec![Answer::Silence, answer("200 OK", "body")]);
    let fetching = Fetching {
        response_headers: 1,
        ..trusting(&[&own.authority])
    };
    assert_eq!(fetch(&fetching, &url).expect("fetched"), b"body");
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn authorities_that_are_none_are_refused() {
    let own = self_signed(|_| {});
    let no_certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for wrong in ["", "text", no_certificate] {
        let refused = fetch(&trusting(&[&own.authority, wrong]), "https://127.0.0.1:1/");
        assert!(
            matches!(refused, Err(FetchError::Authority { number: 2 })),
            "{refused:?}"
        );
    }
}

#[test]
fn plain_leads_to_encrypted() {
    let own = issued("127.0.0.1");
    let (_server, url) = serve(&own, vec![answer("200 OK", "body")]);
    let plain = Server::start(vec![redirect(&url)]);
    let fetched = fetch(&trusting(&[&own.authority]), &plain.url("/"));
    assert_eq!(fetched.expect("fetched"), b"body");
}

/// A proxy that opens one tunnel after the other, all of them to `target`. Gives back its address and
/// what it was asked.
fn tunnel(target: std::net::SocketAddr) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let (asked, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(client.try_clone().expect("a second handle"));
            let head = read_head(&mut reader).expect("a request");
            let is_known = head.starts_with("CONNECT localhost.test:444 ");
            let _ = asked.send(head);
            let mut client = client;
            if !is_known {
                let _ = client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
                continue;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
            let server = TcpStream::connect(target).expect("connected");
            let (mut up, mut down) = (server.try_clone().expect("a handle"), server);
            std::thread::spawn(move || std::io::copy(&mut reader, &mut up));
            let _ = std::io::copy(&mut down, &mut client);
        }
    });
    (address, heads)
}

#[test]
fn encrypted_goes_through_a_proxy_by_a_tunnel() {
    let own = issued("localhost.test");
    let (server, _) = serve(&own, vec![answer("200 OK", "body")]);
    let (proxy, asked) = tunnel(server.address);
    let fetching = Fetching {
        https_proxy: Some(format!("http://me:pw@{proxy}")),
        ..trusting(&[&own.authority])
    };
    let fetched = fetch(&fetching, "https://localhost.test:444/x");
    assert_eq!(fetched.expect("fetched"), b"body");
    assert_eq!(
        asked.recv().expect("a request"),
        "CONNECT localhost.test:444 HTTP/1.1\nHost: localhost.test:444\n\
         Proxy-Authorization: Basic bWU6cHc=\n"
    );
    assert!(server.heads()[0].starts_with("GET /x HTTP/1.1\nHost: localhost.test:444\n"));
    let fetching = Fetching {
        total: 1,
        ..fetching
    };
    let refused = fetch(&fetching, "https://elsewhere.test/").expect_err("refused");
    assert!(refused.to_string().contains("answers 403"), "{refused}");
}

#[test]
fn a_proxy_may_be_encrypted_itself() {
    let own = issued("127.0.0.1");
    let (proxy, url) = serve(&own, vec![answer("200 OK", "by proxy")]);
    let fetching = Fetching {
        http_proxy: Some(url),
        ..trusting(&[&own.authority])
    };
    let fetched = fetch(&fetching, "http://www.fake.tld/");
    assert_eq!(fetched.expect("fetched"), b"by proxy");
    assert!(proxy.heads()[0].starts_with("GET http://www.fake.tld/ HTTP/1.1\n"));
}

/// Runs `hardway-fetch`: whether it succeeded, what it put out, and its last line of error.
fn run(order: &str) -> (bool, Vec<u8>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hardway-fetch"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut input = program.stdin.take().expect("a pipe");
    input.write_all(order.as_bytes()).expect("written");
    drop(input);
    let mut body = Vec::new();
    let mut output = program.stdout.take().expect("a pipe");
    output.read_to_end(&mut body).expect("read");
    let ended = program.wait_with_output().expect("ended");
    let errors = String::from_utf8(ended.stderr).expect("text");
    let last = errors.lines().last().unwrap_or_default().to_owned();
    (ended.status.success(), body, last)
}

#[test]
fn the_program_fetches_what_it_is_told_to() {
    let own = issued("127.0.0.1");
    let body = "y".repeat(1 << 20);
    let (server, url) = serve(&own, vec![answer("200 OK", &body)]);
    let order = |url: &str, fetching: &Fetching| {
        let headers = [("X-Auth", "secret")];
        serde_json::json!({"url": url, "headers": headers, "fetching": fetching}).to_string()
    };
    let (succeeded, fetched, _) = run(&order(&url, &trusting(&[&own.authority])));
    assert!(succeeded && fetched == body.as_bytes());
    assert!(server.heads()[0].contains("X-Auth: secret\n"));

    let (succeeded, fetched, error) = run(&order(&url, &trusting(&[])));
    assert_eq!((succeeded, fetched.len()), (false, 0));
    let cause = "its certificate comes from no authority that is known here";
    assert_eq!(error, format!("{url}: the server is not trusted: {cause}"));

    let (succeeded, _, error) = run("{}");
    assert!(
        !succeeded && error.starts_with("the order is not understood: "),
        "{error}"
    );
}
