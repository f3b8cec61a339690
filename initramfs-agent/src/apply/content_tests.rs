//! Content from every source, against servers on the loopback device.

use std::io::Write as _;
use std::net::TcpListener;

use super::*;

fn read(resource: &Resource) -> Result<String> {
    let fetching = Fetching {
        total: 5,
        ..Fetching::default()
    };
    let sources = Sources {
        fetching: &fetching,
        reports: &Reports::unheard(),
    };
    Ok(String::from_utf8(bytes(resource, &sources)?)?)
}

fn inline(bytes: &[u8]) -> Resource {
    Resource {
        source: Source::Inline(bytes.to_owned()),
        compression: Compression::None,
        verification: None,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Serves one request, and gives back the URL and what the request said.
fn serve_once(answer: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        for line in BufReader::new(&stream).lines().map(Result::unwrap) {
            if line.is_empty() {
                break;
            }
            asked.push_str(&line);
            asked.push('\n');
        }
        stream.write_all(&answer).unwrap();
        asked
    });
    (url, server)
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn the_members_of_a_gzip_stream_are_one_content() {
    let packed = Resource {
        compression: Compression::Gzip,
        ..inline(&[gzip(b"one "), gzip(b"two")].concat())
    };
    assert_eq!(read(&packed).unwrap(), "one two");
    let cut = gzip(b"one");
    for broken in [&cut[..cut.len() - 4], b"plain"] {
        let resource = Resource {
            compression: Compression::Gzip,
            ..inline(broken)
        };
        let error = read(&resource).unwrap_err().to_string();
        assert!(error.starts_with("the content: "), "{error}");
    }
}

#[test]
fn the_hash_is_of_the_unpacked_bytes() {
    let resource = |verification| Resource {
        compression: Compression::Gzip,
        verification: Some(verification),
        ..inline(&gzip(b"new"))
    };
    let sha256 = hex(&Sha256::digest(b"new"));
    let sha512 = hex(&Sha512::digest(b"new")).to_uppercase();
    let right = [Verification::Sha256(sha256), Verification::Sha512(sha512)];
    for verification in right {
        assert_eq!(read(&resource(verification)).unwrap(), "new");
    }
    let wrong = resource(Verification::Sha256("00".to_owned()));
    let error = read(&wrong).unwrap_err().to_string();
    assert!(error.ends_with("and 00 was expected"), "{error}");
}

#[test]
fn a_url_is_fetched_with_its_headers() {
    let (url, server) = serve_once(answer(b"fetched"));
    let headers = vec![("X-Auth".to_owned(), "secret".to_owned())];
    let resource = Resource {
        source: Source::Url { url, headers },
        ..inline(b"")
    };
    assert_eq!(read(&resource).unwrap(), "fetched");
    let asked = server.join().unwrap();
    assert!(asked.starts_with("GET /file HTTP/1.1\n"), "{asked}");
    assert!(asked.contains("X-Auth: secret\n"), "{asked}");
}

#[test]
fn a_body_that_breaks_off_is_no_content() {
    let mut cut = answer(b"whole");
    cut.truncate(cut.len() - 2);
    let (url, _server) = serve_once(cut);
    let source = Source::Url {
        url: url.clone(),
        headers: Vec::new(),
    };
    let resource = Resource {
        source,
        ..inline(b"")
    };
    let error = read(&resource).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{url}: the connection ends before the body does")
    );
}

/// Runs a script in the place of `hardway-fetch`.
fn fetched_by(script: &str) -> io::Result<String> {
    let mut program = Command::new("sh");
    program.args(["-c", script]);
    let fetching = Fetching::default();
    let sources = Sources {
        fetching: &fetching,
        reports: &Reports::unheard(),
    };
    let headers = [("X-Auth".to_owned(), "secret".to_owned())];
    let url = "https://a/b";
    let mut text = String::new();
    Encrypted::start(program, url, &headers, &fetching, &sources)
        .unwrap()
        .read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn what_is_encrypted_is_fetched_by_the_program() {
    let order: serde_json::Value = serde_json::from_str(&fetched_by("cat").unwrap()).unwrap();
    assert_eq!(order["url"], "https://a/b");
    assert_eq!(order["headers"], serde_json::json!([["X-Auth", "secret"]]));
    assert_eq!(order["fetching"]["responseHeaders"], 10);
    let broken = "cat > /dev/null; echo begun; echo once >&2; echo https://a/b: late >&2; exit 1";
    let error = fetched_by(broken).unwrap_err();
    assert_eq!(error.to_string(), "late");
}
