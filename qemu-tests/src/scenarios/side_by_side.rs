//! Work that is done some at a time: a guest under emulation keeps one processor busy, and no more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{panic, thread};

/// Does `work` on each of the items, in their order, by so many threads, and gives what came of them as it came.
pub(super) fn each<T: Send, Outcome: Send>(
    items: impl IntoIterator<Item = T>,
    at_a_time: usize,
    work: impl Fn(T) -> Outcome + Sync,
) -> Vec<Outcome> {
    let waiting: Mutex<VecDeque<T>> = Mutex::new(items.into_iter().collect());
    let outcomes = Mutex::new(Vec::new());
    let run = || {
        // The lock is let go of before the work begins.
        while let Some(item) = next(&waiting) {
            let outcome = work(item);
            lock(&outcomes).push(outcome);
        }
    };
    thread::scope(|scope| {
        let started: Vec<_> = (0..at_a_time).map(|_| scope.spawn(run)).collect();
        for thread in started {
            if let Err(panicked) = thread.join() {
                panic::resume_unwind(panicked);
            }
        }
    });
    outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn next<T>(waiting: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(waiting).pop_front()
}

/// A thread that died while it held a lock left whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn each_is_done_once_and_two_at_a_time() {
        let both = Barrier::new(2);
        let mut done = each(1..=6, 2, |item| {
            // Nobody would come past it alone.
            both.wait();
            item
        });
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3, 4, 5, 6]);
    }
}
