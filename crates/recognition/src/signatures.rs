//! What a stretch of a disk holds, by the magic numbers of filesystems and containers.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use crate::fat;

/// Something that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The kind, under blkid's name: `ext4`, `LVM2_member`, …
    pub kind: &'static str,
    /// Its label, where it has one.
    pub label: Option<String>,
    /// Its UUID as blkid says it, of the kinds that configs compare.
    pub uuid: Option<String>,
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{} {label:?}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// A kind by its magic.
struct Kind {
    name: &'static str,
    /// Where the magic stands, from the start of the stretch.
    at: u64,
    magic: &'static [u8],
    /// Place and length of the label.
    label: Option<(u64, usize)>,
    /// Place and form of the UUID.
    uuid: Option<(u64, Form)>,
}

/// How a UUID is stored.
#[derive(Clone, Copy)]
enum Form {
    /// Sixteen bytes in the order of their digits.
    Bytes,
    /// Forty bytes of text.
    Text,
    /// A FAT volume's serial number: four bytes, the last first.
    Serial,
}

const fn kind(name: &'static str, at: u64, magic: &'static [u8]) -> Kind {
    Kind {
        name,
        at,
        magic,
        label: None,
        uuid: None,
    }
}

impl Kind {
    const fn label(mut self, at: u64, length: usize) -> Self {
        self.label = Some((at, length));
        self
    }

    const fn uuid(mut self, at: u64, form: Form) -> Self {
        self.uuid = Some((at, form));
        self
    }
}

const VFAT: &str = "vfat";
const RAID_MAGIC: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
const LUKS1: &[u8] = b"LUKS\xba\xbe\0\x01";
const LUKS2: &[u8] = b"LUKS\xba\xbe\0\x02";

const KINDS: &[Kind] = &[
    kind("xfs", 0, b"XFSB").label(108, 12).uuid(32, Form::Bytes),
    kind("btrfs", 0x1_0040, b"_BHRfS_M")
        .label(0x1_012b, 256)
        .uuid(0x1_0020, Form::Bytes),
    kind(VFAT, 82, b"FAT32   ").uuid(67, Form::Serial),
    kind(VFAT, 54, b"FAT16   ").uuid(39, Form::Serial),
    kind(VFAT, 54, b"FAT12   ").uuid(39, Form::Serial),
    kind("ntfs", 3, b"NTFS    "),
    kind("exfat", 3, b"EXFAT   "),
    kind("swap", 4086, b"SWAPSPACE2")
        .label(1052, 16)
        .uuid(1036, Form::Bytes),
    kind("swap", 65526, b"SWAPSPACE2")
        .label(1052, 16)
        .uuid(1036, Form::Bytes),
    kind("LVM2_member", 512 + 24, b"LVM2 001"),
    kind("LVM2_member", 24, b"LVM2 001"),
    kind("crypto_LUKS", 0, LUKS1).uuid(168, Form::Text),
    kind("crypto_LUKS", 0, LUKS2)
        .label(24, 48)
        .uuid(168, Form::Text),
    kind("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    kind("linux_raid_member", 4096, &RAID_MAGIC)
        .label(4096 + 32, 32)
        .uuid(4096 + 16, Form::Bytes),
    kind("linux_raid_member", 0, &RAID_MAGIC)
        .label(32, 32)
        .uuid(16, Form::Bytes),
    kind(
        "bcache",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca],
    ),
    kind("iso9660", 0x8001, b"CD001").label(0x8028, 32),
    kind("udf", 0x9001, b"NSR0"),
    kind("squashfs", 0, b"hsqs"),
    kind("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]).label(1024 + 64, 16),
    kind("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    kind("jfs", 0x8000, b"JFS1"),
    kind("reiserfs", 0x1_0034, b"ReIsEr"),
    kind(
        "bcachefs",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9],
    ),
    kind("VMFS", 0x10_0000, &[0x0d, 0xd0, 0x01, 0xc0]),
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
    for kind in KINDS {
        if stretch.read(kind.at, kind.magic.len())? == kind.magic
            && !found.iter().any(|s: &Signature| s.kind == kind.name)
        {
            found.push(stretch.describe(kind)?);
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

    fn describe(&mut self, kind: &Kind) -> std::io::Result<Signature> {
        let label = match kind.label {
            Some((at, length)) => text(&self.read(at, length)?),
            None if kind.name == VFAT => self.fat_label()?,
            None => None,
        };
        let uuid = match kind.uuid {
            Some((at, Form::Bytes)) => some_uuid(&self.read(at, 16)?),
            Some((at, Form::Text)) => text(&self.read(at, 40)?),
            Some((at, Form::Serial)) => match *self.read(at, 4)? {
                [d, c, b, a] => Some(format!("{a:02X}{b:02X}-{c:02X}{d:02X}")),
                _ => None,
            },
            None => None,
        };
        Ok(Signature {
            kind: kind.name,
            label,
            uuid,
        })
    }

    fn fat_label(&mut self) -> std::io::Result<Option<String>> {
        let Some((at, length)) = fat::root_directory(&self.read(0, 512)?) else {
            return Ok(None);
        };
        Ok(fat::label(&self.read(at, length)?))
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
            uuid: some_uuid(&block[104..120]),
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
            kind: "zfs_member",
            label: None,
            uuid: None,
        }))
    }

    /// Superblocks 0.90, in the last whole 64 KiB, and 1.0, 8 KiB before the end.
    fn mdraid_at_end(&mut self) -> std::io::Result<Option<Signature>> {
        let old = (self.length & !0xffff).checked_sub(0x1_0000);
        let new = self.length.checked_sub(0x2000).map(|at| at & !0xfff);
        for (at, is_old) in [(old, true), (new, false)] {
            let Some(block) = at.map(|at| self.read(at, 64)).transpose()? else {
                continue;
            };
            if !block.starts_with(&RAID_MAGIC) {
                continue;
            }
            return Ok(Some(Signature {
                kind: "linux_raid_member",
                label: if is_old { None } else { text(&block[32..64]) },
                uuid: match is_old {
                    // Four words, each little-endian, the first one apart from the others.
                    true => [20, 52, 56, 60]
                        .iter()
                        .flat_map(|at| block[*at..at + 4].iter().rev().copied())
                        .collect::<Vec<u8>>(),
                    false => block[16..32].to_vec(),
                }
                .as_slice()
                .try_into()
                .ok()
                .map(uuid),
            }));
        }
        Ok(None)
    }
}

/// Sixteen bytes as the text of a UUID (RFC 9562), in lower case.
pub fn uuid(bytes: &[u8; 16]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// A GUID, mixed-endian as GPT stores it (UEFI 2.10, appendix A), in upper case.
pub fn guid(bytes: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    uuid(&ORDER.map(|at| bytes[at])).to_uppercase()
}

/// A UUID of nothing but zeros is none.
fn some_uuid(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    bytes.iter().any(|byte| *byte != 0).then(|| uuid(bytes))
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
            &[
                (54, b"FAT16   "),
                // 512 bytes a sector, 4 sectors a cluster, 1 before the one table of 1 sector.
                (11, &[0, 2, 4, 1, 0, 1, 16, 0]),
                (22, &[1]),
                (1024, b"ESP        \x08"),
            ],
            &[r#"vfat "ESP""#],
        );
        check(&[(82, b"FAT32   "), (71, b"STALE      ")], &["vfat"]);
        check(&[(4086, b"SWAPSPACE2")], &["swap"]);
        check(&[(536, b"LVM2 001")], &["LVM2_member"]);
        check(&[(0, b"LUKS\xba\xbe\0\x02")], &["crypto_LUKS"]);
        check(
            &[(0x8001, b"CD001"), (0x8028, b"DEBIAN  ")],
            &[r#"iso9660 "DEBIAN""#],
        );
        check(&[(0, b"hsqs")], &["squashfs"]);
        check(
            &[((128 << 10) + 4096, &0x00ba_b10c_u64.to_le_bytes())],
            &["zfs_member"],
        );
        check(&[(4096, &[0xfc, 0x4e, 0x2b, 0xa9])], &["linux_raid_member"]);
        check(
            &[((2 << 20) - 0x2000, &[0xfc, 0x4e, 0x2b, 0xa9])],
            &["linux_raid_member"],
        );
        check(
            &[((2 << 20) - 0x1_0000, &[0xfc, 0x4e, 0x2b, 0xa9])],
            &["linux_raid_member"],
        );
    }

    /// Bytes at places of a disk, and the UUID that they make.
    type Case<'a> = (&'a [(usize, &'a [u8])], &'a str);

    /// Superblocks with nothing but magic and UUID, where each on-disk format has them.
    #[test]
    fn uuids_as_blkid_says_them() {
        let bytes: [u8; 16] = std::array::from_fn(|index| index as u8 + 1);
        let plain = "01020304-0506-0708-090a-0b0c0d0e0f10";
        let magic: &[u8] = &RAID_MAGIC;
        let cases: [Case; 8] = [
            (&[(1080, &[0x53, 0xef]), (1024 + 104, &bytes)], plain),
            (&[(0, b"XFSB"), (32, &bytes)], plain),
            (&[(0x1_0040, b"_BHRfS_M"), (0x1_0020, &bytes)], plain),
            (&[(4086, b"SWAPSPACE2"), (1036, &bytes)], plain),
            (&[(82, b"FAT32   "), (67, &bytes[..4])], "0403-0201"),
            (&[(0, LUKS2), (168, plain.as_bytes())], plain),
            (&[(4096, magic), (4096 + 16, &bytes)], plain),
            (
                &[
                    ((2 << 20) - 0x1_0000, magic),
                    ((2 << 20) - 0x1_0000 + 20, &[4, 3, 2, 1]),
                    (
                        (2 << 20) - 0x1_0000 + 52,
                        &[8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13],
                    ),
                ],
                plain,
            ),
        ];
        for (writes, expected) in cases {
            let mut disk = vec![0; 2 << 20];
            for (at, bytes) in writes {
                disk[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            let found = find(&mut Cursor::new(disk), 0, 2 << 20).unwrap();
            let uuids: Vec<_> = found.iter().map(|s| s.uuid.as_deref()).collect();
            assert_eq!(uuids, [Some(expected)], "{found:?}");
        }
    }

    #[test]
    fn a_stretch_ends_where_it_ends() {
        let mut disk = vec![0; 8192];
        disk[4086..4096].copy_from_slice(b"SWAPSPACE2");
        assert_eq!(find(&mut Cursor::new(disk), 0, 4090).unwrap(), []);
    }
}
