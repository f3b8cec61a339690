//! Requests as they are sent, and what of a file of ten bytes they get.

use proptest::prelude::*;

use super::*;

const ETAG: &str = "\"5e0be100-a\"";
/// Wed, 01 Jan 2020 00:00:00 GMT
const MODIFIED: u64 = 1_577_836_800;

fn file(size: u64) -> Resource {
    Resource {
        size,
        modified: Some(MODIFIED),
        etag: Some(ETAG.to_owned()),
        media_type: "application/octet-stream",
    }
}

/// `200 0..10` for a request with these header fields, one a line.
fn check(method: &str, fields: &str, expected: &str) {
    let mut request = format!("{method} /boot/vmlinuz HTTP/1.1\r\nHost: x\r\n");
    for field in fields.lines() {
        request += &format!("{field}\r\n");
    }
    request += "\r\n";
    let head = head(request.as_bytes()).unwrap().unwrap();
    let reply = answer(head.method, &head.conditions, &file(10));
    let got = match &reply.content {
        Some(content) => format!("{} {content:?}", reply.status),
        None => reply.status.to_string(),
    };
    assert_eq!(got, expected, "{method} {fields:?}");
}

#[test]
fn ranges() {
    check("GET", "", "200 0..10");
    check("HEAD", "", "200");
    for (range, expected) in [
        ("bytes=0-", "206 0..10"),
        ("bytes=0-0", "206 0..1"),
        ("bytes=3-5", "206 3..6"),
        ("BYTES = 3-5", "206 3..6"),
        ("bytes=9-99", "206 9..10"),
        ("bytes=-3", "206 7..10"),
        ("bytes=-30", "206 0..10"),
        ("bytes=0-99999999999999999999", "206 0..10"),
        ("bytes=10-", "416"),
        ("bytes=99999999999999999999-", "416"),
        ("bytes=-0", "416"),
        // Not understood is not there.
        ("bytes=5-3", "200 0..10"),
        ("bytes=-", "200 0..10"),
        ("bytes=a-b", "200 0..10"),
        ("bytes=+1-2", "200 0..10"),
        ("bytes=1-2,4-5", "200 0..10"),
        ("lines=1-2", "200 0..10"),
        ("bytes", "200 0..10"),
    ] {
        check("GET", &format!("Range: {range}"), expected);
        check("HEAD", &format!("Range: {range}"), "200");
    }
    check("GET", "Range: bytes=1-2\nRange: bytes=4-5", "200 0..10");
}

#[test]
fn conditions_in_their_order() {
    let before = "Tue, 31 Dec 2019 23:59:59 GMT";
    let then = "Wed, 01 Jan 2020 00:00:00 GMT";
    for (fields, expected) in [
        (format!("If-None-Match: {ETAG}"), "304"),
        (format!("If-None-Match: \"a\", W/{ETAG}"), "304"),
        (
            format!("If-None-Match: \"a\"\nIf-None-Match: {ETAG}"),
            "304",
        ),
        ("If-None-Match: *".into(), "304"),
        ("If-None-Match: \"a\"".into(), "200 0..10"),
        (format!("If-Modified-Since: {then}"), "304"),
        (format!("If-Modified-Since: {before}"), "200 0..10"),
        ("If-Modified-Since: yesterday".into(), "200 0..10"),
        // A tag says more than a date.
        (
            format!("If-None-Match: \"a\"\nIf-Modified-Since: {then}"),
            "200 0..10",
        ),
        (format!("If-Match: {ETAG}"), "200 0..10"),
        (format!("If-Match: W/{ETAG}"), "412"),
        ("If-Match: \"a\"".into(), "412"),
        ("If-Match: *".into(), "200 0..10"),
        (format!("If-Unmodified-Since: {then}"), "200 0..10"),
        (format!("If-Unmodified-Since: {before}"), "412"),
        (format!("Range: bytes=3-\nIf-Range: {ETAG}"), "206 3..10"),
        (format!("Range: bytes=3-\nIf-Range: {then}"), "206 3..10"),
        (format!("Range: bytes=3-\nIf-Range: W/{ETAG}"), "200 0..10"),
        ("Range: bytes=3-\nIf-Range: \"a\"".into(), "200 0..10"),
        (format!("Range: bytes=3-\nIf-Range: {before}"), "200 0..10"),
        ("Range: bytes=99-\nIf-Range: \"a\"".into(), "200 0..10"),
        (format!("Range: bytes=3-\nIf-None-Match: {ETAG}"), "304"),
    ] {
        check("GET", &fields, expected);
    }
}

#[test]
fn heads_as_they_are_sent() {
    let reply = answer(Method::Get, &Conditions::default(), &file(10));
    let text = String::from_utf8(reply.encode(Connection::Stays, 784_111_777)).unwrap();
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\n\
         ETag: \"5e0be100-a\"\r\n\
         Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\n\
         Accept-Ranges: bytes\r\n\
         Content-Length: 10\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    );
    let mut conditions = Conditions::default();
    conditions.add("RANGE", b"bytes=2-3");
    let reply = answer(Method::Get, &conditions, &file(10));
    let text = String::from_utf8(reply.encode(Connection::Ends, 0)).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 206 Partial Content\r\n"),
        "{text}"
    );
    assert!(text.contains("Content-Range: bytes 2-3/10\r\nContent-Length: 2\r\n"));
    assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
    let reply = answer(Method::Get, &conditions, &file(2));
    assert_eq!(reply.headers[0], ("Content-Range", "bytes */2".to_owned()));
}

#[test]
fn an_empty_file() {
    for (range, status) in [("bytes=0-", 416), ("bytes=-5", 200), ("bytes=0-0", 416)] {
        let mut conditions = Conditions::default();
        conditions.add("range", range.as_bytes());
        assert_eq!(answer(Method::Get, &conditions, &file(0)).status, status);
    }
}

#[test]
fn connections_go_on_or_end() {
    for (version, field, expected) in [
        ("1.1", "", Connection::Stays),
        ("1.1", "Connection: close\r\n", Connection::Ends),
        ("1.1", "Connection: x, Close\r\n", Connection::Ends),
        ("1.0", "", Connection::Ends),
        (
            "1.0",
            "Connection: Keep-Alive\r\n",
            Connection::StaysByRequest,
        ),
    ] {
        let request = format!("GET / HTTP/{version}\r\nHost: x\r\n{field}\r\n");
        let head = head(request.as_bytes()).unwrap().unwrap();
        assert_eq!(head.connection, expected, "{request}");
        assert_eq!(head.length, request.len());
    }
}

#[test]
fn requests_that_are_more_than_a_head() {
    for (field, is_plain) in [
        ("Accept: */*", true),
        ("Content-Length: 0", true),
        ("Content-Length: 5", false),
        ("Transfer-Encoding: chunked", false),
        ("Upgrade: h2c", false),
        ("Expect: 100-continue", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        assert_eq!(
            head(request.as_bytes()).unwrap().unwrap().is_plain,
            is_plain
        );
    }
}

#[test]
fn heads_that_are_refused() {
    assert!(head(b"GET / HTTP/1.1\r\nHost: ").unwrap().is_none());
    let check = |request: &str, status: u16| {
        assert_eq!(head(request.as_bytes()).unwrap_err().status(), status);
    };
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost a\r\n\r\n", 400);
    check("\u{16}\u{3}\u{1} a TLS hello", 400);
    let fields = "a: b\r\n".repeat(MOST_HEADERS + 1);
    check(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), 431);
    let target = "a".repeat(LONGEST_HEAD);
    check(&format!("GET /{target}"), 431);
    check(&format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n"), 431);
}

#[test]
fn targets_name_files_below_the_root() {
    for (target, expected) in [
        ("/boot/vmlinuz", Some("boot/vmlinuz")),
        ("/boot/vmlinuz?x=/..", Some("boot/vmlinuz")),
        ("/images/a%20b%C3%BC", Some("images/a bü")),
        ("/boot/..%", None),
        ("/boot/%2e%2E/x", None),
        ("/boot/../x", None),
        ("/boot//x", None),
        ("/boot/", None),
        ("/", None),
        ("/boot/a%2fb", None),
        ("/boot/a%00", None),
        ("/boot/%ff", None),
        ("http://x/boot/vmlinuz", None),
        ("*", None),
    ] {
        assert_eq!(file_path(target).as_deref(), expected, "{target}");
    }
}

proptest! {
    #[test]
    fn no_bytes_stop_it_and_no_range_leaves_the_file(
        range in "(bytes=)?[0-9,\\- ]{0,24}", size in 0_u64..100, is_get: bool,
    ) {
        let mut conditions = Conditions::default();
        conditions.add("Range", range.as_bytes());
        let method = if is_get { Method::Get } else { Method::Head };
        let reply = answer(method, &conditions, &file(size));
        if let Some(content) = reply.content {
            prop_assert!(content.start <= content.end && content.end <= size);
            prop_assert_eq!(reply.status == 206, content != (0..size) || reply.status == 206);
        }
    }

    #[test]
    fn any_bytes_are_a_head_or_an_error(bytes: Vec<u8>) {
        if let Ok(Some(head)) = head(&bytes) {
            prop_assert!(head.length <= bytes.len());
            let _ = file_path(head.target);
        }
    }
}
