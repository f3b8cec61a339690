//! The run as a whole, on the host: cases are dealt to two guests, and a guest that hangs or dies is
//! started again for what is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::corpus::Corpus;
use super::initramfs::{self, Ingredients};
use super::machine::Machine;
use super::report::{Event, Outcome, Work};
use crate::accelerator::Accelerator;
use crate::interrupt;

const GUESTS: usize = 2;
/// From power-on to the first case, under emulation on a busy computer.
const BOOT_LIMIT: Duration = Duration::from_secs(240);
/// The guest itself gives up on a stage after six minutes, and a case has three.
const CASE_LIMIT: Duration = Duration::from_secs(1200);
const POLL: Duration = Duration::from_millis(200);
/// A guest that so many times in a row has not come to its first case never will.
const BOOTS: usize = 3;

/// What a run needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The guest's files.
    pub ingredients: Ingredients,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// Scratch files and logs.
    pub folder: PathBuf,
}

/// Plays the cases of these indices and gives back how each ended.
pub fn play(
    options: &Options,
    corpus: &Corpus,
    cases: &[usize],
) -> Result<BTreeMap<usize, Outcome>> {
    let accelerator = Accelerator::choose(&options.kernel)?;
    let outcomes = Mutex::new(BTreeMap::new());
    let note = |index: usize, outcome: Outcome| {
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.insert(index, outcome);
        let name = corpus.tests.get(index).map_or("", |case| &case.name);
        eprintln!("blackbox: {} of {}: {name}", outcomes.len(), cases.len());
    };
    thread::scope(|scope| {
        let guests: Vec<_> = deal(cases)
            .into_iter()
            .enumerate()
            .filter(|(_, cases)| !cases.is_empty())
            .map(|(number, cases)| {
                let folder = options.folder.join(format!("guest{number}"));
                let note = &note;
                scope.spawn(move || guest(options, accelerator, &folder, cases, note))
            })
            .collect();
        guests.into_iter().try_for_each(|guest| match guest.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("the thread of a guest panicked"),
        })
    })?;
    Ok(outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner))
}

/// Every guest gets every so-many-th case: neighbours take about as long.
fn deal(cases: &[usize]) -> Vec<Vec<usize>> {
    let hand = |guest: usize| cases.iter().copied().skip(guest).step_by(GUESTS).collect();
    (0..GUESTS).map(hand).collect()
}

fn guest(
    options: &Options,
    accelerator: Accelerator,
    folder: &Path,
    mut left: Vec<usize>,
    note: &(dyn Fn(usize, Outcome) + Sync),
) -> Result<()> {
    let mut failed_boots = 0;
    for boot in 0.. {
        let work = Work {
            cases: left.clone(),
        };
        let archive = initramfs::build(&options.ingredients, &work)?;
        let folder = folder.join(format!("boot{boot}"));
        let mut machine = Machine::start(&options.kernel, &archive, &folder, accelerator)?;
        drop(archive);
        let mut progress = Progress::default();
        let ending = watch(&mut machine, &mut progress, note)?;
        left.retain(|index| !progress.ended.contains(index));
        match (ending, progress.current) {
            (Ending::Done, _) => return Ok(()),
            (ending, Some(index)) => {
                let how = format!("{}\n    {}", ending.text(), machine.last_words());
                note(index, Outcome::Failed(how));
                left.retain(|other| *other != index);
            }
            (ending, None) if progress.ended.is_empty() => {
                failed_boots += 1;
                let (how, words) = (ending.text(), machine.last_words());
                if failed_boots == BOOTS {
                    bail!("a guest {how} before its first case:\n    {words}");
                }
                eprintln!("blackbox: a guest {how} before its first case; starting it again");
                continue;
            }
            _ => {}
        }
        failed_boots = 0;
        if left.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// How far one boot has come.
#[derive(Default)]
struct Progress {
    seen: usize,
    ended: Vec<usize>,
    current: Option<usize>,
}

impl Progress {
    /// Takes in what is new. True when all is done.
    fn advance(&mut self, events: &[Event], note: &dyn Fn(usize, Outcome)) -> Result<bool> {
        let fresh = events.get(self.seen..).unwrap_or_default();
        self.seen = events.len();
        for event in fresh {
            match event {
                Event::Begin { index } => self.current = Some(*index),
                Event::End { index, outcome } => {
                    self.current = None;
                    self.ended.push(*index);
                    note(*index, outcome.clone());
                }
                Event::Broken { why } => bail!("the guest cannot go on: {why}"),
                Event::Done => return Ok(true),
            }
        }
        Ok(false)
    }
}

enum Ending {
    Done,
    Off,
    Hung,
}

impl Ending {
    fn text(&self) -> &'static str {
        match self {
            Self::Done => "came to its end",
            Self::Off => "switched itself off",
            Self::Hung => "hung",
        }
    }
}

fn watch(
    machine: &mut Machine,
    progress: &mut Progress,
    note: &dyn Fn(usize, Outcome),
) -> Result<Ending> {
    let mut last_change = Instant::now();
    loop {
        interrupt::check()?;
        let was_on = machine.is_on();
        let events = Event::all(&machine.events());
        if events.len() > progress.seen {
            last_change = Instant::now();
        }
        let done = progress.advance(&events, note);
        if done.with_context(|| format!("on its console:\n    {}", machine.last_words()))? {
            return Ok(Ending::Done);
        }
        if !was_on {
            return Ok(Ending::Off);
        }
        let limit = if progress.seen == 0 {
            BOOT_LIMIT
        } else {
            CASE_LIMIT
        };
        if last_change.elapsed() > limit {
            return Ok(Ending::Hung);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_dealt_in_turn() {
        assert_eq!(deal(&[1, 2, 5, 7, 9]), [vec![1, 5, 9], vec![2, 7]]);
        assert_eq!(deal(&[4]), [vec![4], vec![]]);
    }

    #[test]
    fn progress_knows_which_case_was_under_way() {
        let noted = Mutex::new(Vec::new());
        let note = |index, outcome| noted.lock().unwrap().push((index, outcome));
        let end = Event::End {
            index: 3,
            outcome: Outcome::Passed,
        };
        let mut events = vec![Event::Begin { index: 3 }, end, Event::Begin { index: 5 }];
        let mut progress = Progress::default();
        assert!(!progress.advance(&events, &note).unwrap());
        assert_eq!((progress.current, &progress.ended[..]), (Some(5), &[3][..]));
        assert!(!progress.advance(&events, &note).unwrap());
        assert_eq!(noted.lock().unwrap().as_slice(), [(3, Outcome::Passed)]);
        events.push(Event::Done);
        assert!(progress.advance(&events, &note).unwrap());
    }
}
