//! The label of a FAT volume: an entry of the root directory.
//!
//! The boot sector has room for a label too, which blkid does not take for one: tools that change a
//! label leave it as it was.

/// A directory entry's length, and of these the name.
const ENTRY: usize = 32;
const NAME: usize = 11;
/// Attributes of an entry that is the volume's label; those of a piece of a long name hold it too.
const VOLUME: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;
const DELETED: u8 = 0xe5;
/// Stands for a label that is not there.
const NO_NAME: &[u8] = b"NO NAME    ";

/// Where the root directory lies from the volume's start, and how much of it is worth reading: all
/// of it in FAT12 and FAT16, its first cluster in FAT32. `None` where the boot sector makes no sense.
pub(crate) fn root_directory(boot_sector: &[u8]) -> Option<(u64, usize)> {
    let byte = |at: usize| boot_sector.get(at).copied().map(u64::from);
    let word = |at: usize| Some(byte(at)? | byte(at + 1)? << 8);
    let double = |at: usize| Some(word(at)? | word(at + 2)? << 16);
    let sector = word(11)?;
    let cluster = byte(13)?;
    if !matches!(sector, 512 | 1024 | 2048 | 4096) || cluster == 0 {
        return None;
    }
    let tables = |sectors: u64| Some((word(14)? + byte(16)? * sectors) * sector);
    match word(22)? {
        0 => {
            let first = double(44)?.checked_sub(2)?;
            let at = tables(double(36)?)? + first * cluster * sector;
            Some((at, usize::try_from(cluster * sector).ok()?))
        }
        sectors => Some((tables(sectors)?, usize::try_from(word(17)?).ok()? * ENTRY)),
    }
}

/// The label that stands in a root directory.
pub(crate) fn label(directory: &[u8]) -> Option<String> {
    let entries = directory.chunks_exact(ENTRY);
    let mut used = entries.take_while(|entry| entry[0] != 0);
    let label = used.find(|entry| {
        let attributes = entry[NAME];
        entry[0] != DELETED && attributes & LONG_NAME != LONG_NAME && attributes & VOLUME != 0
    })?;
    let name = &label[..NAME];
    let text = String::from_utf8_lossy(name);
    let text = text.trim_end_matches([' ', '\0']);
    (name != NO_NAME && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes per sector, sectors per cluster, reserved sectors, tables, root entries, sectors per
    /// table of FAT16 and FAT32, root cluster.
    fn boot_sector(values: [u32; 8]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        let places = [
            (11, 2),
            (13, 1),
            (14, 2),
            (16, 1),
            (17, 2),
            (22, 2),
            (36, 4),
            (44, 4),
        ];
        for ((at, length), value) in places.into_iter().zip(values) {
            sector[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
        }
        sector
    }

    #[test]
    fn where_the_root_directory_lies() {
        for (values, expected) in [
            (
                [512, 4, 4, 2, 512, 128, 0, 0],
                Some(((4 + 256) * 512, 512 * 32)),
            ),
            (
                [512, 8, 32, 2, 0, 0, 1000, 5],
                Some(((32 + 2000 + 24) * 512, 4096)),
            ),
            ([512, 8, 32, 2, 0, 0, 1000, 0], None),
            ([7, 8, 32, 2, 0, 0, 1000, 2], None),
        ] {
            assert_eq!(root_directory(&boot_sector(values)), expected, "{values:?}");
        }
        assert_eq!(root_directory(&[0; 40]), None);
    }

    #[test]
    fn which_entry_is_the_label() {
        let entry = |name: &[u8; 11], attributes: u8| {
            let mut entry = name.to_vec();
            entry.push(attributes);
            entry.resize(ENTRY, 0);
            entry
        };
        for (entries, expected) in [
            (vec![entry(b"ESP        ", 0x08)], Some("ESP")),
            (
                vec![
                    entry(b"\xe5LD        ", 0x08),
                    entry(b"Ab.c.d.e.f.", 0x0f),
                    entry(b"FILE    TXT", 0x20),
                    entry(b"MY DISK    ", 0x28),
                ],
                Some("MY DISK"),
            ),
            (vec![entry(NO_NAME.try_into().unwrap(), 0x08)], None),
            (vec![entry(&[0; 11], 0), entry(b"LATER      ", 0x08)], None),
            (vec![], None),
        ] {
            assert_eq!(label(&entries.concat()).as_deref(), expected);
        }
    }
}
