//! Where a new partition goes: the free space of a table, as sgdisk sees it.
//!
//! The rules are sgdisk's, because the real Ignition leaves every choice of a place to it: a start of
//! 0 is the aligned start of the largest free block of that moment, a size of 0 reaches to that
//! block's end, and the alignment is 1 MiB unless the partitions that stand there keep to less.

use std::collections::BTreeMap;

/// Partitions that a table has room for where it says nothing else.
const USUAL_SLOTS: u32 = 128;
/// From this many sectors on, sgdisk never aligns to less than [`LEAST_ALIGNMENT`].
const LARGE_DISK: u64 = 585_937_500;
const LEAST_ALIGNMENT: u64 = 8;

/// First and last sector.
pub(super) type Extent = (u64, u64);

/// A table as far as places go.
#[derive(Debug, Clone)]
pub(super) struct Space {
    usable: Extent,
    alignment: u64,
    slots: u32,
    used: BTreeMap<u32, Extent>,
}

/// Why a partition cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The number is another partition's.
    NumberTaken,
    /// The table has no such number.
    NumberTooHigh(u32),
    /// No sector is free.
    Full,
    /// The sectors wanted are not all free.
    NoRoom(Extent),
    /// The start lies behind the largest free block, so that no size is left.
    BehindLargest {
        /// Wanted.
        start: u64,
        /// The largest free block.
        largest: Extent,
    },
}

impl Space {
    /// `used` are the partitions that stand there, by number.
    pub(super) fn new(
        usable: Extent,
        total: u64,
        sector_size: u32,
        used: BTreeMap<u32, Extent>,
    ) -> Self {
        let entry_sectors = usable.0.saturating_sub(2);
        let entry_bytes = entry_sectors.saturating_mul(u64::from(sector_size));
        let slots = u32::try_from(entry_bytes / 128)
            .unwrap_or(USUAL_SLOTS)
            .min(USUAL_SLOTS);
        let highest = used.keys().next_back().copied().unwrap_or(0);
        Self {
            usable,
            alignment: alignment(total, sector_size, &used),
            slots: slots.max(highest),
            used,
        }
    }

    /// Frees a partition's place and number.
    pub(super) fn delete(&mut self, number: u32) {
        self.used.remove(&number);
    }

    /// The lowest free number.
    pub(super) fn free_number(&self) -> u32 {
        (1..)
            .find(|number| !self.used.contains_key(number))
            .unwrap_or(u32::MAX)
    }

    /// Takes a place: `start` 0 is the largest free block's, `sectors` 0 reaches to its end.
    pub(super) fn create(
        &mut self,
        number: u32,
        start: u64,
        sectors: u64,
    ) -> Result<Extent, Obstacle> {
        if self.used.contains_key(&number) {
            return Err(Obstacle::NumberTaken);
        }
        if number == 0 || number > self.slots {
            return Err(Obstacle::NumberTooHigh(self.slots));
        }
        let largest = self.largest().ok_or(Obstacle::Full)?;
        let start = if start == 0 {
            self.align(largest.0)
        } else {
            start
        };
        let end = match sectors {
            0 if start > largest.1 => return Err(Obstacle::BehindLargest { start, largest }),
            0 => largest.1,
            _ => start.saturating_add(sectors - 1),
        };
        let first = self.align(start);
        match self.block_of(first) {
            Some((_, last)) if first <= end && end <= last => {
                self.used.insert(number, (first, end));
                Ok((first, end))
            }
            _ => Err(Obstacle::NoRoom((first, end))),
        }
    }

    /// Every free block, in order.
    pub(super) fn free_blocks(&self) -> Vec<Extent> {
        let mut used: Vec<Extent> = self.used.values().copied().collect();
        used.sort_unstable();
        let mut free = Vec::new();
        let mut next = self.usable.0;
        for (first, last) in used {
            if first > next {
                free.push((next, (first - 1).min(self.usable.1)));
            }
            next = next.max(last.saturating_add(1));
        }
        if next <= self.usable.1 {
            free.push((next, self.usable.1));
        }
        free.retain(|(first, last)| first <= last);
        free
    }

    /// The first of the largest free blocks.
    fn largest(&self) -> Option<Extent> {
        let mut largest: Option<Extent> = None;
        for block in self.free_blocks() {
            if largest.is_none_or(|(first, last)| block.1 - block.0 > last - first) {
                largest = Some(block);
            }
        }
        largest
    }

    fn block_of(&self, sector: u64) -> Option<Extent> {
        let holds = |(first, last): &Extent| (*first..=*last).contains(&sector);
        self.free_blocks().into_iter().find(holds)
    }

    /// The aligned sector before or, if what lies between is taken, behind; else the sector itself.
    fn align(&self, sector: u64) -> u64 {
        let earlier = sector / self.alignment * self.alignment;
        if earlier == sector {
            return sector;
        }
        let later = earlier.saturating_add(self.alignment);
        let is_free = |first: u64, last: u64| {
            self.block_of(first)
                .is_some_and(|(_, block_last)| block_last >= last)
        };
        if is_free(earlier, sector - 1) {
            earlier
        } else if is_free(sector.saturating_add(1).min(later), later) {
            later
        } else {
            sector
        }
    }
}

/// The largest power of two up to 1 MiB that every partition starts at a multiple of.
fn alignment(total: u64, sector_size: u32, used: &BTreeMap<u32, Extent>) -> u64 {
    let mut alignment = ((1 << 20) / u64::from(sector_size.max(1))).max(1);
    for (first, _) in used.values() {
        while first % alignment != 0 {
            alignment /= 2;
        }
    }
    if alignment < LEAST_ALIGNMENT && total >= LARGE_DISK {
        LEAST_ALIGNMENT
    } else {
        alignment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of 64 MiB in sectors of 512 bytes, with these partitions.
    fn space(used: &[(u32, Extent)]) -> Space {
        let total = 64 * 2048;
        Space::new((34, total - 34), total, 512, used.iter().copied().collect())
    }

    #[test]
    fn a_start_of_0_is_the_aligned_start_of_the_largest_block() {
        let end = 64 * 2048 - 34;
        for (used, expected) in [
            (&[][..], Ok((2048, end))),
            (&[(1, (2048, 4095))], Ok((4096, end))),
            // What stands there is aligned to 32 sectors, and so is what comes.
            (&[(1, (100_000, end))], Ok((64, 99_999))),
            // Only the gap before the first MiB is left: nothing there can be aligned.
            (&[(1, (2048, end))], Ok((34, 2047))),
            (&[(1, (34, end))], Err(Obstacle::Full)),
        ] {
            let mut space = space(used);
            assert_eq!(space.create(9, 0, 0), expected, "{used:?}");
        }
    }

    #[test]
    fn alignment_is_what_the_partitions_keep_to() {
        for (first, expected) in [(2048, 2048), (6144, 2048), (34, 2), (63, 1), (4104, 8)] {
            let used = BTreeMap::from([(1, (first, first))]);
            assert_eq!(alignment(1 << 20, 512, &used), expected, "{first}");
        }
        let odd = BTreeMap::from([(1, (63, 63))]);
        assert_eq!(alignment(LARGE_DISK, 512, &odd), 8);
        assert_eq!(alignment(1 << 20, 4096, &BTreeMap::new()), 256);
    }

    #[test]
    fn what_has_no_place() {
        let mut space = space(&[(1, (2048, 4095)), (2, (40_960, 43_007))]);
        for (number, start, sectors, expected) in [
            (1, 0, 0, Obstacle::NumberTaken),
            (129, 0, 0, Obstacle::NumberTooHigh(128)),
            (3, 2048, 2048, Obstacle::NoRoom((2048, 4095))),
            (3, 4096, 40_000, Obstacle::NoRoom((4096, 44_095))),
            // Before the largest block, to whose end a size of 0 reaches.
            (3, 4096, 0, Obstacle::NoRoom((4096, 64 * 2048 - 34))),
        ] {
            assert_eq!(space.create(number, start, sectors), Err(expected));
        }
        let largest = (43_008, 64 * 2048 - 34);
        assert_eq!(
            space.create(3, 200_000, 0),
            Err(Obstacle::BehindLargest {
                start: 200_000,
                largest
            })
        );
    }
}
