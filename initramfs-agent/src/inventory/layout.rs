//! What stands on a disk, exactly, for the planner of its partitions and filesystems.

use std::fs::File;
use std::path::Path;

use hardway_model::layout::Layout;

/// Looks at a disk without writing to it; `None` where it cannot be read.
pub fn probe(path: &Path, size: u64, sector_size: u32) -> Option<Layout> {
    let mut disk = File::open(path).ok()?;
    hardway_recognition::layout::look(&mut disk, size, sector_size).ok()
}
