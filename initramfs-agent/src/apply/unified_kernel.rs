//! Unified kernel images, read: kernel, initramfs and command line in one EFI program (UAPI.5).
//!
//! An EFI program is a PE file ("PE Format", Microsoft, revision 11) whose sections have names.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};

/// Sections that are read as text have less.
const LONGEST_TEXT: u64 = 64 << 10;

/// An EFI program's sections, in the order of the file.
pub struct Program<'a> {
    file: &'a File,
    sections: Vec<Section>,
}

struct Section {
    name: [u8; 8],
    offset: u64,
    length: u64,
}

impl<'a> Program<'a> {
    /// Reads the table of sections.
    pub fn open(file: &'a File) -> Result<Self> {
        const HEADER: usize = 24;
        const SECTION_HEADER: usize = 40;
        let mut start = [0; 64];
        file.read_exact_at(&mut start, 0)?;
        let pe = u64::from(long(&start, 0x3c));
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, pe)?;
        if !start.starts_with(b"MZ") || !header.starts_with(b"PE\0\0") {
            bail!("it is no EFI program");
        }
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut table = vec![0; usize::from(short(6)) * SECTION_HEADER];
        file.read_exact_at(&mut table, pe + HEADER as u64 + u64::from(short(20)))?;
        let section = |entry: &[u8]| Section {
            name: [0, 1, 2, 3, 4, 5, 6, 7].map(|at| entry[at]),
            offset: long(entry, 20).into(),
            // The first is what is meant; in the file it is padded.
            length: long(entry, 8).min(long(entry, 16)).into(),
        };
        Ok(Self {
            file,
            sections: table.chunks_exact(SECTION_HEADER).map(section).collect(),
        })
    }

    /// Whether it has a section of that name.
    pub fn has(&self, name: &str) -> bool {
        self.section(name).is_some()
    }

    /// A section's text without padding; empty where there is none.
    pub fn text(&self, name: &str) -> Result<String> {
        let Some(section) = self.section(name) else {
            return Ok(String::new());
        };
        if section.length > LONGEST_TEXT {
            bail!("its {name} is too long");
        }
        let mut bytes = vec![0; section.length as usize];
        self.file.read_exact_at(&mut bytes, section.offset)?;
        let text = String::from_utf8(bytes).with_context(|| format!("its {name} is not UTF-8"))?;
        Ok(text.trim_matches(['\0', ' ', '\n', '\t', '\r']).to_owned())
    }

    /// Appends a section's bytes to a file. Without one nothing is appended.
    pub fn copy(&self, name: &str, to: &File) -> Result<()> {
        match self.section(name) {
            Some(section) => append(self.file, section.offset, section.length, to)
                .with_context(|| format!("copying its {name}")),
            None => Ok(()),
        }
    }

    fn section(&self, name: &str) -> Option<&Section> {
        let is_name = |section: &&Section| {
            let end = section.name.iter().position(|byte| *byte == 0);
            section.name[..end.unwrap_or(8)] == *name.as_bytes()
        };
        self.sections.iter().find(is_name)
    }
}

/// Appends bytes of a file to another.
pub fn append(from: &File, mut offset: u64, mut length: u64, to: &File) -> Result<()> {
    while length > 0 {
        // The kernel moves up to 2 GiB at once (sendfile(2)).
        match rustix::fs::sendfile(to, from, Some(&mut offset), length.min(1 << 30) as usize)? {
            0 => bail!("it is cut off"),
            copied => length -= copied as u64,
        }
    }
    Ok(())
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// An EFI program with these sections, padded to 512 bytes each.
    pub fn program(sections: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = sections.len() as u8;
        bytes[0x94] = 0x70;
        for (at, (name, text)) in (0x80 + 24 + 0x70..).step_by(40).zip(sections) {
            let padded = text.len().next_multiple_of(512);
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            for (field, value) in [(8, text.len()), (16, padded), (20, bytes.len())] {
                let value = (value as u32).to_le_bytes();
                bytes[at + field..at + field + 4].copy_from_slice(&value);
            }
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn sections_are_read_by_their_names() {
        let bytes = program(&[
            (".cmdline", "quiet\n\0"),
            (".linux", "KERNEL"),
            (".lin", "x"),
        ]);
        let file_ = file(&bytes);
        let program = Program::open(&file_).unwrap();
        assert!(program.has(".linux") && !program.has(".profile"));
        assert_eq!(program.text(".cmdline").unwrap(), "quiet");
        assert_eq!(program.text(".osrel").unwrap(), "");
        let copied = file(b"");
        program.copy(".linux", &copied).unwrap();
        program.copy(".ucode", &copied).unwrap();
        program.copy(".lin", &copied).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(copied.read_at(&mut bytes, 0).unwrap(), 7);
        assert_eq!(bytes, *b"KERNELx\0");
    }

    #[test]
    fn what_is_cut_off_is_no_program() {
        let bytes = program(&[(".cmdline", "quiet"), (".linux", "KERNEL")]);
        for length in [0, 63, 0x90, 0x120] {
            assert!(Program::open(&file(&bytes[..length])).is_err(), "{length}");
        }
        let short = file(&bytes[..0x602]);
        let program = Program::open(&short).unwrap();
        let error = program.copy(".linux", &file(b"")).unwrap_err();
        assert_eq!(format!("{error:#}"), "copying its .linux: it is cut off");
    }

    proptest! {
        /// Whatever stands in the file: an answer or an error.
        #[test]
        fn damage_is_an_error(changes in prop::collection::vec((0usize..0x600, any::<u8>()), 0..8)) {
            let mut bytes = program(&[(".cmdline", "quiet"), (".linux", "KERNEL")]);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            if let Ok(program) = Program::open(&file(&bytes)) {
                let _ = program.text(".cmdline");
                let _ = program.copy(".linux", &file(b""));
            }
        }
    }
}
