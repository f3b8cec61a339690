//! Where the power goes: forty points of an installation on the machine, twenty on the appliance.
//!
//! The first and last moments of an installation are dense: around the claim of the disk, the writes that
//! make it boot, the hand-over and the confirmation. Between them the points are spread over the image by
//! a seed, so that they are the same each time.

use hardway_model::receipt;

use crate::drive::Access;

/// Any: where in its part of the image a point stands.
const SEED: u64 = 7;
/// Where the image's partitions begin and roughly end, in sectors: what is before is withheld.
const IMAGE: (u64, u64) = (2048, 560_000);
/// Points in the image, on the machine and on the appliance.
const IN_IMAGE: u64 = 16;
const IN_IMAGE_ON_APPLIANCE: u64 = 7;

/// A moment of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// So many milliseconds after the machine said this on its console.
    Word(&'static str, u64),
    /// Before this sector, in units of 512 bytes, is first reached by one of these accesses: it and
    /// everything later is not done.
    Sector(u64, &'static [Access]),
    /// The same, counted from the disk's end: 1 is the last.
    FromEnd(u64, &'static [Access]),
    /// The installed system has confirmed that it runs.
    Running,
}

use Point::{FromEnd, Running, Sector, Word};

const WRITE: &[Access] = &[Access::Write];
const ZERO: &[Access] = &[Access::Zero];
/// A hole of the image is zeroed, and anything else is written.
const ANY: &[Access] = &[Access::Write, Access::Zero];

/// Those on the machine.
pub fn on_machine() -> Vec<Point> {
    let receipt = receipt::OFFSET / 512;
    let after_receipt = receipt + receipt::LENGTH as u64 / 512;
    let before = [
        Word("iPXE initialising devices", 0),
        Word("Hardway: starting the agent", 0),
        Word("Linux version", 1000),
        Word("claim-disk …", 0),
        // The claim: the receipt, then zeros in the first MiB before and behind it, and in the last.
        Sector(receipt, WRITE),
        Sector(0, ZERO),
        Sector(after_receipt, ZERO),
        FromEnd(1, ZERO),
    ];
    let image = spread(IN_IMAGE).map(|sector| Sector(sector, ANY));
    let after = [
        Word("read-back …", 0),
        Word("read-back …", 2000),
        Word("grow-partition-table …", 0),
        Word("grow-filesystem …", 0),
        Word("apply-config …", 0),
        Word("install-confirmation …", 0),
        Word("commit-disk …", 0),
        // The commit: before the end of the first MiB and the receipt, which come one after the other, before
        // the table's header, the boot sector, the copy of the table.
        Sector(2047, WRITE),
        Sector(1, WRITE),
        Sector(0, WRITE),
        FromEnd(1, WRITE),
        Word("commit-disk: the disk boots", 0),
        Word("hand-over …", 0),
        Word("handing over by kexec", 0),
        Word("Starting new kernel", 3000),
        Running,
    ];
    before.into_iter().chain(image).chain(after).collect()
}

/// Those on the appliance, by what the machine does at that moment.
pub fn on_appliance() -> Vec<Point> {
    let before = [
        Word("iPXE initialising devices", 0),
        Word("Hardway: starting the agent", 0),
        Word("boot/agent.initramfs...", 200),
        Word("Linux version", 0),
        Word("claim-disk …", 0),
    ];
    let image = spread(IN_IMAGE_ON_APPLIANCE).map(|sector| Sector(sector, ANY));
    let after = [
        Word("read-back …", 1000),
        Word("grow-filesystem …", 0),
        Word("apply-config …", 0),
        Word("install-confirmation …", 0),
        Word("commit-disk …", 0),
        Word("hand-over …", 0),
        Word("Starting new kernel", 0),
        Word("Starting new kernel", 4000),
    ];
    before.into_iter().chain(image).chain(after).collect()
}

/// One sector in each of so many parts of the image.
fn spread(count: u64) -> impl Iterator<Item = u64> {
    let (first, end) = IMAGE;
    let part = (end - first) / count;
    let mut state = SEED;
    (0..count).map(move |number| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        first + number * part + state % part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_promised_and_each_once() {
        for (points, count) in [(on_machine(), 40), (on_appliance(), 20)] {
            assert_eq!(points.len(), count);
            for (index, point) in points.iter().enumerate() {
                assert!(!points[..index].contains(point), "{point:?} twice");
            }
        }
    }
}
