//! Every power cut that an installation can meet: what stands on the disk then, by the inventory's own
//! reading of it.
//!
//! The writes of an installation are recorded. A cut leaves what was flushed, and of the writes since then
//! any; the one that was under way may be torn at any sector. Whatever is left boots only if all of it is
//! there, and is known for what it is at the next start.

use std::io::Cursor;

use hardway_model::inventory::Content;
use hardway_model::receipt::{self, Stage};

use super::disk::tests::{Entry, MIB, SIZE, install, previous};
use crate::inventory::content::look;

/// So many unflushed writes are tried in all combinations.
const ALL_COMBINATIONS: usize = 8;

/// What a cut came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Blank, as before.
    Blank,
    /// What stood there before is whole behind the first MiB, and needs permission as before.
    Before,
    /// Known as begun, and written anew without asking. Nothing of it boots.
    Begun,
    /// The receipt itself was torn: it needs permission, and nothing of it boots.
    Torn,
    /// All of it is there, but for the copy of the table at most.
    Complete,
}
use State::*;

#[test]
fn a_blank_disk_is_blank_or_begun_or_complete() {
    for sector_size in [512, 4096] {
        let states = cut_everywhere(vec![0; SIZE], sector_size);
        assert_eq!(states, [Blank, Begun, Complete], "{sector_size}");
    }
}

#[test]
fn a_disk_that_held_something_holds_it_or_is_begun_or_complete() {
    for sector_size in [512, 4096] {
        let states = cut_everywhere(previous(u64::from(sector_size)), sector_size);
        assert_eq!(states, [Before, Begun, Complete], "{sector_size}");
    }
}

/// The states that were seen, without those of torn sectors of the receipt.
fn cut_everywhere(before: Vec<u8>, sector_size: u32) -> Vec<State> {
    let installed = install(before.clone(), sector_size);
    let mut cuts = Cuts {
        sector_size,
        finished: &installed.device().bytes,
        before: &before,
        flushed: before.clone(),
        seen: Vec::new(),
    };
    let mut unflushed = Vec::new();
    for entry in &installed.device().log {
        match entry {
            Entry::Write(offset, bytes) => unflushed.push((*offset as usize, &bytes[..])),
            Entry::Sync => cuts.flush(&std::mem::take(&mut unflushed)),
        }
    }
    assert!(unflushed.is_empty(), "what was written last is flushed");
    let mut states = cuts.seen;
    states.sort();
    states.dedup();
    states.retain(|state| *state != Torn);
    states
}

struct Cuts<'a> {
    sector_size: u32,
    finished: &'a [u8],
    before: &'a [u8],
    flushed: Vec<u8>,
    seen: Vec<State>,
}

type Write<'a> = (usize, &'a [u8]);

impl Cuts<'_> {
    /// Tries what may be left of the writes when they are flushed, and flushes them.
    fn flush(&mut self, writes: &[Write<'_>]) {
        for choice in combinations(writes.len()) {
            let chosen = (0..writes.len()).filter(|index| choice(*index));
            let chosen: Vec<_> = chosen.map(|index| writes[index]).collect();
            self.look_at(&chosen);
        }
        for write in writes {
            self.tear(*write);
        }
        for (offset, bytes) in writes {
            self.flushed[*offset..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// A write of which only the sectors before, or from, some place on are on the medium.
    fn tear(&mut self, (offset, bytes): Write<'_>) {
        let sector = self.sector_size as usize;
        let receipt = receipt::OFFSET as usize;
        let is_telling = |at: &usize| {
            let place = offset + at;
            place < 16 * sector
                || (receipt..receipt + 4 * sector).contains(&place)
                || place + 4 * sector > SIZE
                || place.is_multiple_of(MIB / 4)
        };
        for at in (sector..bytes.len()).step_by(sector).filter(is_telling) {
            let (first, second) = bytes.split_at(at);
            self.look_at(&[(offset, first)]);
            self.look_at(&[(offset + at, second)]);
        }
    }

    /// Judges the disk with some of the unflushed writes on it, and takes them off again.
    fn look_at(&mut self, writes: &[Write<'_>]) {
        let mut covered = Vec::new();
        for (offset, bytes) in writes {
            let place = &mut self.flushed[*offset..][..bytes.len()];
            covered.push(place.to_vec());
            place.copy_from_slice(bytes);
        }
        let state = self.judge();
        self.seen.push(state);
        for ((offset, _), bytes) in writes.iter().zip(covered).rev() {
            self.flushed[*offset..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn judge(&self) -> State {
        let (disk, size) = (&self.flushed[..], SIZE as u64);
        let content = look(&mut Cursor::new(disk), size, self.sector_size).unwrap();
        let boots = disk[..512].iter().any(|byte| *byte != 0);
        let is_as_before = disk[MIB..SIZE - MIB] == self.before[MIB..SIZE - MIB];
        let state = match &content {
            Content::Blank => Blank,
            Content::Ours { receipt } if receipt.stage == Stage::Complete => Complete,
            Content::Ours { .. } => Begun,
            Content::Foreign { signatures } if signatures[0].starts_with("damaged receipt") => Torn,
            Content::Foreign { .. } => Before,
            Content::Unreadable { error } => panic!("{error}"),
        };
        let is_right = match state {
            Blank => disk == self.before,
            Before => is_as_before,
            // A claim that was torn may leave the boot sector of what stood there, which is whole.
            Begun | Torn => !boots || is_as_before,
            // The receipt of what is installed already stands there when the copy is written.
            Complete => disk[..SIZE - MIB] == self.finished[..SIZE - MIB],
        };
        assert!(is_right, "{state:?}, boots: {boots}: {content:?}");
        state
    }
}

/// Which of so many writes are on the medium: all combinations, or of many writes every first few, every
/// single one, every one that is missing alone, and some at random.
fn combinations(count: usize) -> Vec<Box<dyn Fn(usize) -> bool>> {
    let mut choices: Vec<Box<dyn Fn(usize) -> bool>> = Vec::new();
    if count <= ALL_COMBINATIONS {
        for bits in 0..1_usize << count {
            choices.push(Box::new(move |index| bits >> index & 1 == 1));
        }
        return choices;
    }
    for chosen in 0..count {
        choices.push(Box::new(move |index| index < chosen));
        choices.push(Box::new(move |index| index == chosen));
        choices.push(Box::new(move |index| index != chosen));
    }
    for seed in 1..=100_u64 {
        choices.push(Box::new(move |index| {
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(index as u32 * 7)
                & 1
                == 1
        }));
    }
    choices.push(Box::new(|_| true));
    choices
}
