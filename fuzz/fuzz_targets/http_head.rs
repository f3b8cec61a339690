//! Any bytes as the head of a request for a file: no panic; a head is never longer than what came; no
//! target leads out of its folder; and what is sent lies in the file.

#![no_main]

use hardway_netboot::http::{LONGEST_HEAD, Resource, answer, file_path, head, media_type};
use libfuzzer_sys::fuzz_target;

const SIZE: u64 = 1000;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(head)) = head(data) else {
        return;
    };
    assert!(head.length <= data.len().min(LONGEST_HEAD));
    if let Some(path) = file_path(head.target) {
        let is_inside = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        assert!(
            path.trim_start_matches('/').split('/').all(is_inside),
            "{path:?}"
        );
        media_type(&path);
    }
    let resource = Resource {
        size: SIZE,
        modified: Some(1_700_000_000),
        etag: Some("\"3e8-6553f100\"".to_owned()),
        media_type: "application/octet-stream",
    };
    let _ = head.conditions.goes_on();
    let reply = answer(head.method, &head.conditions, &resource);
    assert!(
        [200, 206, 304, 412, 416].contains(&reply.status),
        "{reply:?}"
    );
    if let Some(content) = &reply.content {
        assert!(
            content.start <= content.end && content.end <= SIZE,
            "{reply:?}"
        );
        assert!(reply.status == 206 || *content == (0..SIZE), "{reply:?}");
    }
    let encoded = reply.encode(head.connection, 1_700_000_000);
    let is_line = |line: &[u8]| line.iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    let text = encoded
        .strip_suffix(b"\r\n\r\n")
        .expect("an empty line ends it");
    let mut lines = text.split(|byte| *byte == b'\n');
    assert!(lines.all(|line| is_line(line.strip_suffix(b"\r").unwrap_or(line))));
});
