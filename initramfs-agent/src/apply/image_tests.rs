//! Images of every compression, from servers that behave and servers that break off.

use std::io::Write;
use std::net::TcpListener;

use hardway_model::receipt::Stage;

use super::*;
use crate::apply::disk::tests::{Recorder, receipt};

const DISK: usize = 8 << 20;

/// Compressible, and different everywhere.
fn plain() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|index| (index / 700 % 251) as u8)
        .collect()
}

/// xz and bzip2 are packed by the programs that images are packed with.
fn packed_by(program: &str, plain: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new(program)
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = plain.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Serves `body`, each connection at most `most` bytes of it. `ranges`: whether Range is heeded.
fn serve(body: Vec<u8>, most: usize, ranges: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&request).to_lowercase();
            let range = text.split("range: bytes=").nth(1);
            let start = range
                .filter(|_| ranges)
                .and_then(|rest| rest.split('-').next()?.parse().ok());
            let status = if start.is_some() {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            let rest = &body[start.unwrap_or(0)..];
            let _ = write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
                rest.len()
            );
            let _ = connection.write_all(&rest[..rest.len().min(most)]);
        }
    });
    url
}

fn fetch(url: &str, compression: Compression, sha256: Sha256) -> Result<Vec<u8>> {
    let reports = Reports::unheard();
    let appliance = Appliance::new("http://127.0.0.1:1", "t");
    let device = Recorder::new(vec![0; DISK], 512);
    let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing))?;
    let served = Served::new(appliance, url, reports.clone());
    let source = Source {
        url,
        compression,
        sha256,
    };
    let written = copy(served, &source, &mut disk, &reports)?;
    written.compare(&mut disk)?;
    let mut content = vec![0; written.size() as usize];
    disk.read(&mut content, 0)?;
    Ok(content)
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

#[test]
fn every_compression() {
    let plain = plain();
    let (first, second) = plain.split_at(1_234_567);
    let cases = [
        (Compression::None, plain.clone()),
        (Compression::Zstd, zstd::encode_all(&plain[..], 1).unwrap()),
        // Several members, as parallel packers make them.
        (Compression::Gzip, [gzip(first), gzip(second)].concat()),
        (Compression::Xz, packed_by("xz", &plain)),
        (
            Compression::Bzip2,
            [packed_by("bzip2", first), packed_by("bzip2", second)].concat(),
        ),
    ];
    for (compression, body) in cases {
        let sha256 = digest(&body);
        let url = serve(body, usize::MAX, true);
        assert!(
            fetch(&url, compression, sha256).unwrap() == plain,
            "{compression:?}"
        );
    }
}

#[test]
fn a_broken_connection_is_taken_up_with_ranges_and_without() {
    let plain = plain();
    let sha256 = digest(&plain);
    let url = serve(plain.clone(), 2_000_000, true);
    assert!(fetch(&url, Compression::None, sha256).unwrap() == plain);
    let whole = zstd::encode_all(&plain[..], 1).unwrap();
    let sha256 = digest(&whole);
    // Without ranges a connection has to carry all of it once: the first one breaks, by its own end.
    let url = serve(whole, usize::MAX, false);
    assert!(fetch(&url, Compression::Zstd, sha256).unwrap() == plain);
}

#[test]
fn the_cause_of_a_failure_is_named() {
    let plain = plain();
    let url = serve(plain.clone(), usize::MAX, true);
    let error = fetch(&url, Compression::None, Sha256([9; 32])).unwrap_err();
    assert!(
        error.to_string().contains("the disk stays unbootable"),
        "{error}"
    );
    assert!(
        error.to_string().contains(&digest(&plain).to_string()),
        "{error}"
    );

    let error = fetch(&url, Compression::Zstd, digest(&plain)).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("whose SHA-256 is as expected: decompressing"),
        "{text}"
    );

    // A damaged file does not decompress; the cause is its hash all the same.
    let error = fetch(&url, Compression::Zstd, Sha256([9; 32])).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains(&format!("has SHA-256 {}", digest(&plain))),
        "{text}"
    );
    assert!(
        text.ends_with(")") && text.contains("(decompressing: "),
        "{text}"
    );

    let large = vec![1; DISK + 1];
    let sha256 = digest(&large);
    let url = serve(large, usize::MAX, true);
    let error = fetch(&url, Compression::None, sha256).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the image is larger than the disk ({DISK} bytes)")
    );
}
