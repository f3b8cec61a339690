//! An imported image from a server that serves it well, badly, or another one.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hardway_image::Chunk;
use hardway_model::receipt::Stage;
use hardway_recognition::fixture::gpt_disk;

use super::*;
use crate::apply::disk::tests::{Entry, Recorder, receipt};

const MIB: usize = 1 << 20;
const DISK: usize = 24 * MIB;

/// 12 MiB and a bit, with holes, an incompressible stretch and one that repeats.
fn image() -> Vec<u8> {
    let mut image = gpt_disk(12 * MIB + 4096, 512, &[("root", 1, 9)]);
    for (index, byte) in image[2 * MIB..3 * MIB].iter_mut().enumerate() {
        *byte = (index / 700 % 251) as u8;
    }
    let mut state = 7_u64;
    for byte in &mut image[5 * MIB..6 * MIB] {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 33) as u8;
    }
    image
}

/// Index and data of an image.
fn imported(image: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    let chunks = image.chunks(CHUNK as usize).map(|content| {
        let (chunk, stored) = Chunk::pack(content, 1).unwrap();
        data.extend(stored);
        chunk
    });
    let chunks = chunks.collect();
    let index = Index::new(Sha256([5; 32]), image.len() as u64, chunks).unwrap();
    (index.encode().unwrap(), data)
}

/// An appliance that serves two files by ranges.
struct Server {
    url: String,
    /// Every request for the data, as first and last byte.
    asked: Arc<Mutex<Vec<(usize, usize)>>>,
}

/// What becomes of the data's answers, by the number of the request and its first byte.
type Fate = fn(usize, usize, Vec<u8>) -> Vec<u8>;

fn serve(index: Vec<u8>, data: Vec<u8>, fate: Fate) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (index, data, known) = (index.clone(), data.clone(), Arc::clone(&known));
            std::thread::spawn(move || answer(connection.unwrap(), &index, &data, &known, fate));
        }
    });
    Server { url, asked }
}

fn answer(
    mut connection: TcpStream,
    index: &[u8],
    data: &[u8],
    asked: &Mutex<Vec<(usize, usize)>>,
    fate: Fate,
) {
    loop {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match connection.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let range = text.split("range: bytes=").nth(1).map(|rest| {
            let (first, rest) = rest.split_once('-').unwrap();
            let last = rest.split("\r\n").next().unwrap();
            (first.parse().unwrap(), last.parse().unwrap())
        });
        let (status, body) = match range {
            Some((first, last)) if text.starts_with("get /data ") => {
                let mut asked = asked.lock().unwrap();
                asked.push((first, last));
                let body = data[first..=last].to_vec();
                ("206 Partial Content", fate(asked.len(), first, body))
            }
            _ => ("200 OK", index.to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if connection
            .write_all(&[head.as_bytes(), &body].concat())
            .is_err()
        {
            return;
        }
    }
}

fn as_it_is(_: usize, _: usize, body: Vec<u8>) -> Vec<u8> {
    body
}

fn claimed(content: Vec<u8>) -> TargetDisk<Recorder> {
    TargetDisk::claim(Recorder::new(content, 512), &receipt(Stage::Writing)).unwrap()
}

fn write_to(
    disk: &mut TargetDisk<Recorder>,
    server: &Server,
    sha256: Sha256,
    compare: bool,
) -> Result<(Written, String)> {
    let source = Source {
        index: "/index",
        sha256,
        data: "/data",
        compare,
    };
    let reports = Reports::unheard();
    write(&source, disk, &Appliance::new(&server.url, "t"), &reports)
}

fn content(disk: &TargetDisk<Recorder>, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    disk.read(&mut content, 0).unwrap();
    content
}

#[test]
fn every_chunk_is_written_and_nothing_of_what_was_there_stays() {
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, as_it_is);
    let mut disk = claimed(vec![0xaa; DISK]);
    let (written, summary) = write_to(&mut disk, &server, sha256, false).unwrap();
    assert!(content(&disk, image.len()) == image);
    assert!(
        summary.starts_with("wrote 12 of 12 MiB with 1 partitions"),
        "{summary}"
    );
    written.compare(&mut disk).unwrap();
}

#[test]
fn what_is_there_already_is_neither_fetched_nor_written() {
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, as_it_is);
    let mut former = image.clone();
    former.resize(DISK, 0);
    // One block of the repeating stretch, and one of a hole.
    former[2 * MIB + 5000] ^= 1;
    former[8 * MIB] = 1;
    let mut disk = claimed(former);
    let begun = disk.device().log.len();
    write_to(&mut disk, &server, sha256, true).unwrap();
    assert!(content(&disk, image.len()) == image);
    let mut places: Vec<(u64, usize)> = disk.device().log[begun..]
        .iter()
        .filter_map(|entry| match entry {
            Entry::Write(offset, bytes) => Some((*offset, bytes.len())),
            _ => None,
        })
        .collect();
    places.sort_unstable();
    assert_eq!(places, [((2 << 20) + 4096, 4096), (8 << 20, 4096)]);
    // Beside the first MiB, which is withheld: a run of its chunks that hold something.
    assert!(server.asked.lock().unwrap().len() <= 3);
}

#[test]
fn differences_are_whole_blocks() {
    let content = vec![1; 3 * BLOCK + 10];
    let found = |former: Option<&[u8]>| -> Vec<(usize, usize)> {
        let parts = differences(former, &content).into_iter();
        parts.map(|part| (part.start, part.end)).collect()
    };
    for (changed, expected) in [
        (vec![], vec![]),
        (vec![0], vec![(0, BLOCK)]),
        (vec![BLOCK - 1, BLOCK], vec![(0, 2 * BLOCK)]),
        (
            vec![5, 3 * BLOCK + 9],
            vec![(0, BLOCK), (3 * BLOCK, 3 * BLOCK + 10)],
        ),
    ] {
        let mut former = content.clone();
        changed.iter().for_each(|at: &usize| former[*at] = 0);
        assert_eq!(found(Some(&former)), expected, "{changed:?}");
    }
    assert_eq!(found(None), [(0, content.len())]);
}

#[test]
fn a_chunk_that_came_damaged_is_fetched_again() {
    fn once(number: usize, _: usize, mut body: Vec<u8>) -> Vec<u8> {
        if number < 3 {
            body[0] ^= 0xff;
        }
        body
    }
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, once);
    let mut disk = claimed(vec![0; DISK]);
    write_to(&mut disk, &server, sha256, false).unwrap();
    assert!(content(&disk, image.len()) == image);
}

#[test]
fn a_chunk_that_stays_damaged_is_named_and_never_written() {
    fn always(_: usize, _: usize, mut body: Vec<u8>) -> Vec<u8> {
        let last = body.len() - 1;
        body[last] ^= 0xff;
        body
    }
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, always);
    let mut disk = claimed(vec![0; DISK]);
    let error = write_to(&mut disk, &server, sha256, false).unwrap_err();
    assert!(
        error.to_string().contains("import the image again"),
        "{error:#}"
    );
    for (number, content) in content(&disk, image.len())
        .chunks(CHUNK as usize)
        .enumerate()
    {
        let place = &image[number * CHUNK as usize..][..content.len()];
        let is_untouched = content.iter().all(|byte| *byte == 0);
        assert!(is_untouched || content == place, "chunk {number}");
    }
}

#[test]
fn one_failure_for_good_ends_the_tries_of_all() {
    /// The first chunk is damaged for good; whatever else is asked for comes cut off, which may pass.
    fn never(_: usize, first: usize, mut body: Vec<u8>) -> Vec<u8> {
        let last = body.len() - 1;
        match first {
            0 => body[0] ^= 0xff,
            _ => body.truncate(last),
        }
        body
    }
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, never);
    let error = write_to(&mut claimed(vec![0; DISK]), &server, sha256, false).unwrap_err();
    assert!(error.to_string().contains("chunk 0 of /data"), "{error:#}");
    let asked = server.asked.lock().unwrap().len();
    assert!(asked < 30, "{asked} requests");
}

#[test]
fn another_index_than_the_plans_is_refused_before_anything_is_written() {
    let (index, data) = imported(&image());
    let server = serve(index, data, as_it_is);
    let mut disk = claimed(vec![0; DISK]);
    let begun = disk.device().log.len();
    let error = write_to(&mut disk, &server, Sha256([9; 32]), false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nothing of the image was written"),
        "{error:#}"
    );
    assert_eq!(disk.device().log.len(), begun);
    let small = hardway_image::hash(&imported(&image()).0);
    let mut disk = claimed(vec![0; 8 * MIB]);
    let error = write_to(&mut disk, &server, small, false).unwrap_err();
    assert!(
        error.to_string().contains("this one has 8388608"),
        "{error:#}"
    );
}

#[test]
fn a_disk_that_keeps_something_else_is_found_by_reading_it_back() {
    let image = image();
    let (index, data) = imported(&image);
    let sha256 = hardway_image::hash(&index);
    let server = serve(index, data, as_it_is);
    let mut disk = claimed(vec![0; DISK]);
    let (written, _) = write_to(&mut disk, &server, sha256, false).unwrap();
    let mut byte = [0];
    disk.read(&mut byte, 5 << 20).unwrap();
    disk.write(&[byte[0] ^ 1], 5 << 20).unwrap();
    let error = written.compare(&mut disk).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("in the 262144 bytes at 5242880: replace it"),
        "{error}"
    );
}
