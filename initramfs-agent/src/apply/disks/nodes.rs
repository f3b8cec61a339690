//! Device nodes and what the kernel knows behind them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::disks::{Device, TableEntry};
use hardway_userspace::partitions;

/// /sys counts in units of 512 bytes, whatever the disk's sectors are.
const UNIT: u64 = 512;
/// How long a node may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Number, start and length of partitions, in bytes.
pub type Places = BTreeMap<u32, (u64, u64)>;

/// The node of a device that has to be there.
pub fn of(device: &Device) -> Result<String> {
    let path = device.to_string();
    wait_for(&path)?;
    Ok(path)
}

/// Waits for a block device's node.
pub fn wait_for(path: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match std::fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => return Ok(()),
            Ok(_) => bail!("{path} is not a block device"),
            Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(error) => return Err(error).with_context(|| format!("waiting for {path}")),
        }
    }
}

/// Where partitions of these sectors stand.
pub fn places<'a>(entries: impl IntoIterator<Item = &'a TableEntry>, sector_size: u32) -> Places {
    let bytes = u64::from(sector_size);
    entries
        .into_iter()
        .map(|entry| (entry.number, (entry.start * bytes, entry.sectors * bytes)))
        .collect()
}

/// The partitions of a disk that the kernel knows.
pub fn known(sys: &Path, disk: &str) -> Places {
    let folder = sys.join("block").join(disk.trim_start_matches("/dev/"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let number = |file: &str| {
                let text = std::fs::read_to_string(entry.path().join(file)).ok()?;
                text.trim().parse::<u64>().ok()
            };
            let place = (number("start")? * UNIT, number("size")? * UNIT);
            Some((u32::try_from(number("partition")?).ok()?, place))
        })
        .collect()
}

/// Makes the kernel forget every partition that is not to stay where it is. One that is in use is
/// a failure, and those that went before it come back.
pub fn forget(file: &File, disk: &str, wanted: &Places) -> Result<()> {
    let known = known(Path::new("/sys"), disk);
    let mut gone = Vec::new();
    for (number, place) in known
        .iter()
        .filter(|(n, place)| wanted.get(n) != Some(place))
    {
        if let Err(error) = partitions::delete(file, disk, *number) {
            for (number, (start, length)) in gone {
                let _ = partitions::add(file, disk, number, start, length);
            }
            let path = partition(disk, *number);
            return Err(error).with_context(|| format!("{path} is in use; nothing was written"));
        }
        gone.push((*number, *place));
    }
    Ok(())
}

/// Tells the kernel of every partition that it does not know yet, and compares what it then knows.
pub fn announce(file: &File, disk: &str, wanted: &Places) -> Result<()> {
    let before = known(Path::new("/sys"), disk);
    for (number, (start, length)) in wanted {
        if !before.contains_key(number) {
            partitions::add(file, disk, *number, *start, *length)?;
        }
        wait_for(&partition(disk, *number))?;
    }
    compare(disk, wanted, &known(Path::new("/sys"), disk))
}

fn compare(disk: &str, wanted: &Places, known: &Places) -> Result<()> {
    if let Some((number, place)) = wanted.iter().find(|(n, place)| known.get(n) != Some(place)) {
        let path = partition(disk, *number);
        let at = |(start, length): (u64, u64)| format!("{length} bytes from {start}");
        match known.get(number) {
            Some(found) => bail!(
                "{path} is {} to the kernel, and {} in the table",
                at(*found),
                at(*place)
            ),
            None => bail!("the kernel does not know {path}"),
        }
    }
    if let Some(number) = known.keys().find(|number| !wanted.contains_key(number)) {
        bail!("the kernel still knows {}", partition(disk, *number));
    }
    Ok(())
}

/// `/dev/vda` → `/dev/vda3`, `/dev/nvme0n1` → `/dev/nvme0n1p3`.
pub fn partition(disk: &str, number: u32) -> String {
    let disk = disk.to_owned();
    Device::Partition { disk, number }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_knows_is_read_from_sys() {
        let sys = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("partition", "3\n"),
            ("start", "2048\n"),
            ("size", "4096\n"),
        ] {
            let path = sys.path().join("block/nvme0n1/nvme0n1p3").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(sys.path().join("block/nvme0n1/queue")).unwrap();
        let found = known(sys.path(), "/dev/nvme0n1");
        assert_eq!(found, Places::from([(3, (1 << 20, 2 << 20))]));
        assert_eq!(known(sys.path(), "/dev/vda"), Places::new());
    }

    #[test]
    fn the_kernels_view_is_compared() {
        let wanted = Places::from([(1, (1 << 20, 1 << 20)), (2, (2 << 20, 1 << 20))]);
        let check = |known: &Places| compare("/dev/vda", &wanted, known).map_err(|e| e.to_string());
        assert_eq!(check(&wanted), Ok(()));
        let mut known = wanted.clone();
        known.insert(2, (2 << 20, 2 << 20));
        let message = "/dev/vda2 is 2097152 bytes from 2097152 to the kernel, and 1048576 bytes from 2097152 in the table";
        assert_eq!(check(&known), Err(message.to_owned()));
        known.remove(&2);
        assert_eq!(
            check(&known),
            Err("the kernel does not know /dev/vda2".to_owned())
        );
        known = wanted.clone();
        known.insert(5, (0, 0));
        assert_eq!(
            check(&known),
            Err("the kernel still knows /dev/vda5".to_owned())
        );
    }

    #[test]
    fn sectors_become_bytes() {
        let entry = TableEntry {
            number: 2,
            start: 256,
            sectors: 512,
            type_guid: String::new(),
            guid: None,
            label: String::new(),
            attributes: 0,
            fate: Default::default(),
        };
        assert_eq!(
            places([&entry], 4096),
            Places::from([(2, (1 << 20, 2 << 20))])
        );
    }

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(
            wait_for(path).unwrap_err().to_string(),
            format!("{path} is not a block device")
        );
    }
}
