//! A disk that records every write, and what an installation makes of it.

use std::io::Cursor;

use hardway_model::identity::Sha256;
use hardway_model::receipt::Stage;

use super::*;
use crate::apply::table;
use hardway_recognition::fixture::gpt_disk;
use hardway_recognition::table::Table;

pub const MIB: usize = 1 << 20;
pub const SIZE: usize = 16 * MIB;

/// Keeps the order of writes and flushes.
pub struct Recorder {
    pub bytes: Vec<u8>,
    sector_size: u32,
    pub log: Vec<Entry>,
}

pub enum Entry {
    Write(u64, Vec<u8>),
    Sync,
}

impl Recorder {
    pub fn new(bytes: Vec<u8>, sector_size: u32) -> Self {
        Self {
            bytes,
            sector_size,
            log: Vec::new(),
        }
    }
}

impl Device for Recorder {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        copy(&mut self.bytes, offset, bytes);
        self.log.push(Entry::Write(offset, bytes.to_owned()));
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.write(&vec![0; length as usize], offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.push(Entry::Sync);
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn receipt(stage: Stage) -> Receipt {
    Receipt {
        stage,
        cluster: "lab".into(),
        machine: "node1".into(),
        generation: 3,
        image: Sha256([1; 32]),
        config: Sha256([2; 32]),
        disk: "QEMU_1".into(),
        time: 1,
        agent: "0.1.0".into(),
        data_disks: Vec::new(),
        blank_data_disks: Vec::new(),
        appliance: None,
        confirmation: None,
        partitions: Vec::new(),
        signature: None,
    }
}

/// An image of 8 MiB: a table, a marked boot sector, two filled partitions.
fn image(sector_size: u64) -> Vec<u8> {
    let mut image = gpt_disk(8 * MIB, sector_size, &[("boot", 1, 2), ("root", 3, 6)]);
    image[..4].copy_from_slice(b"BOOT");
    for (index, byte) in image[MIB..7 * MIB].iter_mut().enumerate() {
        *byte = (index / 4096 + 1) as u8;
    }
    image
}

/// What was on the disk before: bootable, and full of something else.
pub fn previous(sector_size: u64) -> Vec<u8> {
    let mut disk = gpt_disk(SIZE, sector_size, &[("old", 1, 14)]);
    disk[MIB..15 * MIB].fill(0xaa);
    disk
}

/// All that the steps of a plan do to the disk, but for what filesystems do.
pub fn install(before: Vec<u8>, sector_size: u32) -> TargetDisk<Recorder> {
    let device = Recorder::new(before, sector_size);
    let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing)).unwrap();
    for (index, chunk) in image(u64::from(sector_size)).chunks(300_000).enumerate() {
        disk.write(chunk, index as u64 * 300_000).unwrap();
    }
    table::settle(&mut disk).unwrap();
    assert!(table::grow(&mut disk, None).unwrap().is_some());
    disk.sync().unwrap();
    let receipt = table::told(&receipt(Stage::Complete), &mut disk).unwrap();
    disk.commit(&receipt).unwrap();
    disk
}

fn found(disk: &[u8]) -> Receipt {
    let at = receipt::OFFSET as usize;
    Receipt::decode(&disk[at..at + receipt::LENGTH]).unwrap()
}

/// The GUID of equal bytes.
fn of_bytes(byte: &str) -> String {
    [4, 2, 2, 2, 6].map(|count| byte.repeat(count)).join("-")
}

fn table_of(disk: &[u8], sector_size: u32) -> Option<Table> {
    Table::read(&mut Cursor::new(disk), sector_size).unwrap()
}

#[test]
fn the_finished_disk_is_the_image_with_a_grown_table_and_a_receipt() {
    for sector_size in [512, 4096] {
        let disk = install(previous(u64::from(sector_size)), sector_size);
        let bytes = &disk.device().bytes;
        assert_eq!(
            bytes[MIB..7 * MIB],
            image(u64::from(sector_size))[MIB..7 * MIB]
        );
        assert_eq!(&bytes[..4], b"BOOT", "the boot code stays");
        let expected = Receipt {
            partitions: ["01", "02"].map(of_bytes).to_vec(),
            ..receipt(Stage::Complete)
        };
        assert_eq!(found(bytes), expected);
        let covered = u32::from_le_bytes(bytes[458..462].try_into().unwrap());
        assert_eq!(covered, (SIZE / sector_size as usize - 1) as u32);
        let table = table_of(bytes, sector_size).unwrap();
        let places: Vec<_> = table
            .partitions
            .iter()
            .map(|p| (p.start >> 20, p.length >> 20))
            .collect();
        assert_eq!(places, [(1, 2), (3, 12)]);
        let mut damaged = bytes.clone();
        damaged[sector_size as usize..][..92].fill(0);
        let copy = gptman::GPT::find_from(&mut Cursor::new(damaged)).unwrap();
        assert!(copy.is_backup(), "the copy stands at the end of the disk");
    }
}

#[test]
fn a_partition_grows_up_to_what_follows_it() {
    for sector_size in [512, 4096] {
        let device = Recorder::new(vec![0; SIZE], sector_size);
        let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing)).unwrap();
        let image = gpt_disk(
            8 * MIB,
            u64::from(sector_size),
            &[("root", 1, 2), ("data", 5, 6)],
        );
        disk.write(&image, 0).unwrap();
        table::settle(&mut disk).unwrap();
        assert_eq!(table::grow(&mut disk, Some(1)).unwrap(), Some(2 << 20));
        let places: Vec<_> = table::read(&mut disk)
            .unwrap()
            .partitions
            .iter()
            .map(|p| (p.start >> 20, p.length >> 20))
            .collect();
        assert_eq!(places, [(1, 4), (5, 2)]);
        assert_eq!(table::grow(&mut disk, Some(2)).unwrap(), Some(8 << 20));
        let error = table::grow(&mut disk, Some(3)).unwrap_err();
        assert_eq!(error.to_string(), "there is no partition 3 to grow");
    }
}

#[test]
fn an_image_that_fills_the_disk_keeps_the_end_of_its_last_partition() {
    let mut whole = gpt_disk(8 * MIB, 512, &[("root", 1, 6)]);
    // The partition reaches to the last usable sector.
    let mut cursor = Cursor::new(whole);
    let mut gpt = gptman::GPT::find_from(&mut cursor).unwrap();
    gpt[1].ending_lba = gpt.header.last_usable_lba;
    gpt.write_into(&mut cursor).unwrap();
    whole = cursor.into_inner();
    let end = (gpt.header.last_usable_lba as usize + 1) * 512;
    whole[MIB..end].fill(0x55);
    let device = Recorder::new(vec![0; 8 * MIB], 512);
    let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing)).unwrap();
    disk.write(&whole, 0).unwrap();
    assert_eq!(disk.device().bytes[end - 1], 0, "withheld");
    table::settle(&mut disk).unwrap();
    assert_eq!(
        disk.device().bytes[end - 1],
        0x55,
        "a filesystem that is mounted needs it"
    );
    assert!(disk.device().bytes[end..].iter().all(|byte| *byte == 0));
    disk.commit(&receipt(Stage::Complete)).unwrap();
    assert_eq!(disk.device().bytes[MIB..], whole[MIB..]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let small = Recorder::new(vec![0; 2 * MIB], 512);
    let error = TargetDisk::claim(small, &receipt(Stage::Writing))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "a disk of 2097152 bytes is too small for a system"
    );
    let device = Recorder::new(vec![0; 4 * MIB], 512);
    let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing)).unwrap();
    let error = disk.write(&[1; 10], 4 * MIB as u64 - 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image is larger than the disk (4194304 bytes)"
    );
}

#[test]
fn a_regular_file_stands_in_for_a_block_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, previous(512)).unwrap();
    let device = BlockDevice::open(path.to_str().unwrap()).unwrap();
    let mut disk = TargetDisk::claim(device, &receipt(Stage::Writing)).unwrap();
    disk.write(&image(512), 0).unwrap();
    table::settle(&mut disk).unwrap();
    disk.sync().unwrap();
    disk.commit(&receipt(Stage::Complete)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[MIB..7 * MIB], image(512)[MIB..7 * MIB]);
    assert_eq!(found(&bytes), receipt(Stage::Complete));
}
