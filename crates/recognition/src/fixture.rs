//! Disks for tests.

use std::io::Cursor;

/// A disk of `size` bytes with a GPT: name, first and last MiB of each partition.
pub fn gpt_disk(size: usize, sector_size: u64, partitions: &[(&str, u64, u64)]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size]);
    let mut table = gptman::GPT::new_from(&mut disk, sector_size, [7; 16]).unwrap();
    for (number, (name, first, last)) in (1..).zip(partitions) {
        table[number] = gptman::GPTPartitionEntry {
            partition_type_guid: [1; 16],
            unique_partition_guid: [number as u8; 16],
            starting_lba: (first << 20) / sector_size,
            ending_lba: ((last + 1) << 20) / sector_size - 1,
            attribute_bits: 0,
            partition_name: (*name).into(),
        };
    }
    gptman::GPT::write_protective_mbr_into(&mut disk, sector_size).unwrap();
    table.write_into(&mut disk).unwrap();
    disk.into_inner()
}
