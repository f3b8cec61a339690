//! What a dynamically linked program or library asks for: its interpreter and its libraries.
//!
//! Source: System V ABI, chapters 4 and 5, and its AMD64 supplement; only little-endian ELF of
//! 64 bits is read.

use anyhow::{Context, Result, ensure};

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

const NEEDED: u64 = 1;
const STRING_TABLE: u64 = 5;

/// What has to be there before a file can be run or linked with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Absolute path of the dynamic loader; libraries seldom name one.
    pub interpreter: Option<String>,
    /// File names of libraries.
    pub libraries: Vec<String>,
}

/// Reads a file's needs; `None`: it is not an ELF file.
pub fn needs(file: &[u8]) -> Result<Option<Needs>> {
    if !file.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    ensure!(
        file.get(4..6) == Some(&[2, 1]),
        "not a little-endian ELF of 64 bits"
    );
    let segments = program_headers(file).context("reading the program headers")?;
    let mut needs = Needs::default();
    for segment in &segments {
        match segment.kind {
            INTERPRETER => {
                let path = text(file, segment.offset).context("reading the interpreter's path")?;
                needs.interpreter = Some(path);
            }
            DYNAMIC => {
                needs.libraries =
                    libraries(file, segment, &segments).context("reading the dynamic section")?;
            }
            _ => {}
        }
    }
    Ok(Some(needs))
}

struct ProgramHeader {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

fn program_headers(file: &[u8]) -> Result<Vec<ProgramHeader>> {
    let (start, size, count) = (
        number::<8>(file, 0x20)?,
        number::<2>(file, 0x36)?,
        number::<2>(file, 0x38)?,
    );
    let header = |index: u64| -> Result<ProgramHeader> {
        let at = start.saturating_add(index * size);
        Ok(ProgramHeader {
            kind: number::<4>(file, at)? as u32,
            offset: number::<8>(file, at + 0x08)?,
            address: number::<8>(file, at + 0x10)?,
            size: number::<8>(file, at + 0x20)?,
        })
    };
    (0..count).map(header).collect()
}

fn libraries(
    file: &[u8],
    dynamic: &ProgramHeader,
    segments: &[ProgramHeader],
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut strings = None;
    for entry in 0..dynamic.size / 16 {
        let at = dynamic.offset.saturating_add(entry * 16);
        let (tag, value) = (number::<8>(file, at)?, number::<8>(file, at + 8)?);
        match tag {
            NEEDED => names.push(value),
            STRING_TABLE => strings = Some(value),
            _ => {}
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let address = strings.context("libraries are needed, and there are no strings")?;
    let strings = segments
        .iter()
        .filter(|segment| segment.kind == LOAD)
        .find_map(|segment| {
            let distance = address.checked_sub(segment.address)?;
            (distance < segment.size).then(|| segment.offset.saturating_add(distance))
        })
        .context("the strings are in no segment")?;
    names
        .into_iter()
        .map(|name| text(file, strings.saturating_add(name)))
        .collect()
}

fn number<const BYTES: usize>(file: &[u8], offset: u64) -> Result<u64> {
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|offset| file.get(offset..)?.first_chunk::<BYTES>())
        .with_context(|| format!("the file ends before byte {offset}"))?;
    let mut number = [0; 8];
    number[..BYTES].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(number))
}

/// A string up to its zero byte.
fn text(file: &[u8], offset: u64) -> Result<String> {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|offset| file.get(offset..))
        .with_context(|| format!("the file ends before byte {offset}"))?;
    let end = rest.iter().position(|byte| *byte == 0);
    let bytes = &rest[..end.context("a string has no end")?];
    String::from_utf8(bytes.to_vec()).context("a string is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two program headers behind the file header, then the dynamic section and its strings. The
    /// whole file is loaded at 0x1000.
    fn library(needed: &[&str]) -> Vec<u8> {
        const DYNAMIC_AT: usize = 0x40 + 2 * 0x38;
        let strings_at = DYNAMIC_AT + 16 * (needed.len() + 1);
        let mut file = vec![0; strings_at];
        let mut put =
            |at: usize, value: u64| file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(0, 0x0001_0102_464c_457f);
        put(0x20, 0x40);
        put(0x36, 0x38 | 2 << 16);
        for (index, kind) in [LOAD, DYNAMIC].into_iter().enumerate() {
            let at = 0x40 + index * 0x38;
            let offset = if kind == DYNAMIC { DYNAMIC_AT } else { 0 };
            put(at, u64::from(kind));
            put(at + 0x08, offset as u64);
            put(at + 0x10, 0x1000 + offset as u64);
            put(at + 0x20, (strings_at - offset) as u64);
        }
        let mut name_at = 1;
        for (index, name) in needed.iter().enumerate() {
            put(DYNAMIC_AT + 16 * index, NEEDED);
            put(DYNAMIC_AT + 16 * index + 8, name_at);
            name_at += name.len() as u64 + 1;
        }
        let last = DYNAMIC_AT + 16 * needed.len();
        put(last, STRING_TABLE);
        put(last + 8, 0x1000 + strings_at as u64);
        put(0x40 + 0x20, strings_at as u64 + name_at);
        file.push(0);
        for name in needed {
            file.extend(name.as_bytes());
            file.push(0);
        }
        file
    }

    #[test]
    fn libraries_are_found_by_their_address() {
        let found = needs(&library(&["libblkid.so.1", "libc.so.6"])).unwrap();
        let expected = Needs {
            interpreter: None,
            libraries: vec!["libblkid.so.1".to_owned(), "libc.so.6".to_owned()],
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn other_files_need_nothing_and_a_cut_one_is_refused() {
        assert_eq!(needs(b"#!/bin/bash -e\n").unwrap(), None);
        let file = library(&["libc.so.6"]);
        for length in 5..file.len() {
            assert!(needs(&file[..length]).is_err(), "{length} bytes");
        }
    }
}
