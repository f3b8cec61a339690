//! What a stretch of a disk holds, by the magic numbers of filesystems and containers.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// Something that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The kind, under the kernel's or blkid's name: `ext4`, `LVM2`, …
    pub kind: &'static str,
    /// Its label, where it has one.
    pub label: Option<String>,
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{} {label:?}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// A kind, where its magic stands from the start of the stretch, the magic, and place and length
/// of its label.
type Magic = (&'static str, u64, &'static [u8], Option<(u64, usize)>);

const KINDS: &[Magic] = &[
    ("xfs", 0, b"XFSB", Some((108, 12))),
    ("btrfs", 0x1_0040, b"_BHRfS_M", Some((0x1_012b, 256))),
    ("vfat", 82, b"FAT32   ", Some((71, 11))),
    ("vfat", 54, b"FAT16   ", Some((43, 11))),
    ("vfat", 54, b"FAT12   ", Some((43, 11))),
    ("ntfs", 3, b"NTFS    ", None),
    ("exfat", 3, b"EXFAT   ", None),
    ("swap", 4086, b"SWAPSPACE2", Some((1024 + 28, 16))),
    ("swap", 65526, b"SWAPSPACE2", Some((1024 + 28, 16))),
    ("LVM2", 512 + 24, b"LVM2 001", None),
    ("LVM2", 24, b"LVM2 001", None),
    ("LUKS", 0, b"LUKS\xba\xbe", None),
    ("mdraid", 4096, &[0xfc, 0x4e, 0x2b, 0xa9], None),
    ("mdraid", 0, &[0xfc, 0x4e, 0x2b, 0xa9], None),
    (
        "bcache",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca],
        None,
    ),
    ("iso9660", 0x8001, b"CD001", Some((0x8028, 32))),
    ("udf", 0x9001, b"NSR0", None),
    ("squashfs", 0, b"hsqs", None),
    (
        "erofs",
        1024,
        &[0xe2, 0xe1, 0xf5, 0xe0],
        Some((1024 + 64, 16)),
    ),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2], None),
    ("jfs", 0x8000, b"JFS1", None),
    ("reiserfs", 0x1_0034, b"ReIsEr", None),
    (
        "bcachefs",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9],
        None,
    ),
    ("VMFS", 0x10_0000, &[0x0d, 0xd0, 0x01, 0xc0], None),
];

/// Looks at `length` bytes of `disk` from `start`.
pub fn find(
    disk: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> std::io::Result<Vec<Signature>> {
    let mut stretch = Stretch {
        disk,
        start,
        length,
    };
    let mut found = Vec::new();
    found.extend(stretch.ext()?);
    for (kind, at, magic, label) in KINDS {
        if stretch.read(*at, magic.len())? == *magic
            && !found.iter().any(|s: &Signature| s.kind == *kind)
        {
            let label = match label {
                Some((at, length)) => text(&stretch.read(*at, *length)?),
                None => None,
            };
            found.push(Signature { kind, label });
        }
    }
    found.extend(stretch.zfs()?);
    found.extend(stretch.mdraid_at_end()?);
    Ok(found)
}

struct Stretch<'a, D> {
    disk: &'a mut D,
    start: u64,
    length: u64,
}

impl<D: Read + Seek> Stretch<'_, D> {
    /// The bytes there; none where the stretch ends before.
    fn read(&mut self, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
        if at.saturating_add(length as u64) > self.length {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; length];
        self.disk.seek(SeekFrom::Start(self.start + at))?;
        match self.disk.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// ext2, 3 and 4 share a superblock and differ in its feature bits.
    fn ext(&mut self) -> std::io::Result<Option<Signature>> {
        const JOURNAL: u32 = 0x4;
        /// Features that ext2 and ext3 know; any other makes it ext4.
        const OLD_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
        const OLD_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
        let block = self.read(1024, 1024)?;
        if block.get(56..58) != Some(&[0x53, 0xef]) {
            return Ok(None);
        }
        let bits = |at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let kind = if bits(96) & !OLD_INCOMPATIBLE != 0 || bits(100) & !OLD_READ_ONLY != 0 {
            "ext4"
        } else if bits(92) & JOURNAL != 0 {
            "ext3"
        } else {
            "ext2"
        };
        Ok(Some(Signature {
            kind,
            label: text(&block[120..136]),
        }))
    }

    /// One of the uberblocks of the first label: 128 KiB of them from 128 KiB on, 1 KiB apart.
    fn zfs(&mut self) -> std::io::Result<Option<Signature>> {
        let ring = self.read(128 << 10, 128 << 10)?;
        let magic = 0x00ba_b10c_u64;
        let present = ring.chunks(1024).any(|block| {
            block.starts_with(&magic.to_le_bytes()) || block.starts_with(&magic.to_be_bytes())
        });
        Ok(present.then_some(Signature {
            kind: "zfs",
            label: None,
        }))
    }

    /// Superblocks 0.90, in the last whole 64 KiB, and 1.0, 8 KiB before the end.
    fn mdraid_at_end(&mut self) -> std::io::Result<Option<Signature>> {
        let old = (self.length & !0xffff).checked_sub(0x1_0000);
        let new = self.length.checked_sub(0x2000).map(|at| at & !0xfff);
        for at in [old, new].into_iter().flatten() {
            if self.read(at, 4)? == [0xfc, 0x4e, 0x2b, 0xa9] {
                return Ok(Some(Signature {
                    kind: "mdraid",
                    label: None,
                }));
            }
        }
        Ok(None)
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
    (!text.is_empty() && text != "NO NAME").then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn check(writes: &[(usize, &[u8])], expected: &[&str]) {
        const START: usize = 1 << 20;
        let mut disk = vec![0; 4 << 20];
        for (at, bytes) in writes {
            disk[START + at..START + at + bytes.len()].copy_from_slice(bytes);
        }
        let found = find(&mut Cursor::new(disk), START as u64, 2 << 20).unwrap();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn filesystems_and_containers() {
        check(&[], &[]);
        check(
            &[(1080, &[0x53, 0xef]), (1144, b"data\0")],
            &[r#"ext2 "data""#],
        );
        check(&[(1080, &[0x53, 0xef]), (1116, &[4])], &["ext3"]);
        check(
            &[(1080, &[0x53, 0xef]), (1116, &[4]), (1120, &[0x40])],
            &["ext4"],
        );
        check(&[(0, b"XFSB"), (108, b"var")], &[r#"xfs "var""#]);
        check(
            &[(0x1_0040, b"_BHRfS_M"), (0x1_012b, b"OEM")],
            &[r#"btrfs "OEM""#],
        );
        check(
            &[(82, b"FAT32   "), (71, b"ESP        ")],
            &[r#"vfat "ESP""#],
        );
        check(&[(82, b"FAT32   "), (71, b"NO NAME    ")], &["vfat"]);
        check(&[(4086, b"SWAPSPACE2")], &["swap"]);
        check(&[(536, b"LVM2 001")], &["LVM2"]);
        check(&[(0, b"LUKS\xba\xbe\0\x02")], &["LUKS"]);
        check(
            &[(0x8001, b"CD001"), (0x8028, b"DEBIAN  ")],
            &[r#"iso9660 "DEBIAN""#],
        );
        check(&[(0, b"hsqs")], &["squashfs"]);
        check(
            &[((128 << 10) + 4096, &0x00ba_b10c_u64.to_le_bytes())],
            &["zfs"],
        );
        check(&[(4096, &[0xfc, 0x4e, 0x2b, 0xa9])], &["mdraid"]);
        check(
            &[((2 << 20) - 0x2000, &[0xfc, 0x4e, 0x2b, 0xa9])],
            &["mdraid"],
        );
        check(
            &[((2 << 20) - 0x1_0000, &[0xfc, 0x4e, 0x2b, 0xa9])],
            &["mdraid"],
        );
    }

    #[test]
    fn a_stretch_ends_where_it_ends() {
        let mut disk = vec![0; 8192];
        disk[4086..4096].copy_from_slice(b"SWAPSPACE2");
        assert_eq!(find(&mut Cursor::new(disk), 0, 4090).unwrap(), []);
    }
}
