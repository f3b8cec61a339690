//! What the agent tells: on the machine's consoles at once, to the appliance by one background
//! thread that keeps the order and repeats what was not taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hardway_model::messages::{AgentEvent, Report};
use hardway_userspace::console::Console;

use crate::http::{Appliance, HttpError};
use crate::patience::pause;

/// Lines that come within this time travel together.
const BATCH: Duration = Duration::from_millis(100);
/// Lines in one report.
const LONGEST_BATCH: usize = 100;
/// Events kept while the appliance cannot be reached; log lines beyond are dropped.
const BACKLOG: usize = 500;

enum Outgoing {
    Event(AgentEvent),
    Line(String),
    Flush(Sender<bool>),
}

/// The way to the consoles and to the appliance. Clones share it.
#[derive(Clone)]
pub struct Reports {
    console: Arc<Console>,
    queue: Sender<Outgoing>,
}

impl Reports {
    /// Starts the background thread. Reports are kept until the network is there.
    pub fn start(console: Console, appliance: Appliance) -> Self {
        let (queue, outgoing) = channel();
        let courier = Courier {
            appliance,
            outgoing,
            refused: false,
            pending: VecDeque::new(),
            flushes: Vec::new(),
            sequence: 0,
        };
        std::thread::spawn(move || courier.run());
        Self {
            console: Arc::new(console),
            queue,
        }
    }

    /// Reports that nobody hears.
    pub fn unheard() -> Self {
        Self {
            console: Arc::default(),
            queue: channel().0,
        }
    }

    /// A line for consoles and timeline.
    pub fn log(&self, line: &str) {
        self.console.line(line);
        self.queue(Outgoing::Line(line.to_owned()));
    }

    /// A line for whoever stands in front of the machine only.
    pub fn show(&self, line: &str) {
        self.console.line(line);
    }

    /// An event for the appliance only.
    pub fn event(&self, event: AgentEvent) {
        self.queue(Outgoing::Event(event));
    }

    /// Waits until everything told so far was taken, at most `patience`. Says whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = channel();
        self.queue(Outgoing::Flush(done));
        wait.recv_timeout(patience).unwrap_or(false)
    }

    fn queue(&self, outgoing: Outgoing) {
        // The thread only ends with the process; without it the console still tells.
        let _ = self.queue.send(outgoing);
    }
}

struct Courier {
    appliance: Appliance,
    outgoing: Receiver<Outgoing>,
    /// The token is of no use any more; what comes is dropped.
    refused: bool,
    pending: VecDeque<AgentEvent>,
    flushes: Vec<Sender<bool>>,
    sequence: u64,
}

impl Courier {
    fn run(mut self) {
        while self.gather() {
            while let Some(event) = self.pending.pop_front() {
                self.sequence += 1;
                self.deliver(event);
            }
            for flush in self.flushes.drain(..) {
                let _ = flush.send(!self.refused);
            }
        }
    }

    /// Waits for something to send and takes what comes right after it. `false` at the end.
    fn gather(&mut self) -> bool {
        let Ok(first) = self.outgoing.recv() else {
            return false;
        };
        self.accept(first);
        while self.flushes.is_empty() {
            match self.outgoing.recv_timeout(BATCH) {
                Ok(next) => self.accept(next),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        true
    }

    fn accept(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Flush(done) => self.flushes.push(done),
            Outgoing::Line(line) => self.accept_line(line),
            Outgoing::Event(event) => {
                // Of progress only the latest counts.
                if let (
                    AgentEvent::Progress { step: new, .. },
                    Some(AgentEvent::Progress { step, .. }),
                ) = (&event, self.pending.back())
                    && new == step
                {
                    self.pending.pop_back();
                }
                self.pending.push_back(event);
            }
        }
    }

    fn accept_line(&mut self, line: String) {
        let is_full = self.pending.len() >= BACKLOG;
        match self.pending.back_mut() {
            Some(AgentEvent::Log { lines }) if lines.len() < LONGEST_BATCH => lines.push(line),
            _ if is_full => {}
            _ => self
                .pending
                .push_back(AgentEvent::Log { lines: vec![line] }),
        }
    }

    /// Sends one event until it is taken, under one sequence number.
    fn deliver(&mut self, event: AgentEvent) {
        if self.refused {
            return;
        }
        let report = Report {
            token: self.appliance.token().to_owned(),
            sequence: self.sequence,
            event,
        };
        let mut attempt = 0;
        loop {
            match self.appliance.post("/agent/v1/report", &report) {
                Err(HttpError::Refused(_)) => {
                    self.refused = true;
                    return;
                }
                Err(error) if error.is_transient() => {
                    self.take_while_waiting(pause(attempt));
                    attempt += 1;
                }
                // Taken, or refused for what it says: repeating it would not help.
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn take_while_waiting(&mut self, pause: Duration) {
        std::thread::sleep(pause);
        while let Ok(next) = self.outgoing.try_recv() {
            self.accept(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courier() -> Courier {
        Courier {
            appliance: Appliance::new("http://127.0.0.1:1", "t"),
            outgoing: channel().1,
            refused: false,
            pending: VecDeque::new(),
            flushes: Vec::new(),
            sequence: 0,
        }
    }

    #[test]
    fn lines_travel_together_and_progress_is_the_latest() {
        let mut courier = courier();
        let progress = |done| {
            Outgoing::Event(AgentEvent::Progress {
                step: "write-image".into(),
                done,
                total: None,
                fetched: None,
            })
        };
        courier.accept(Outgoing::Line("a".into()));
        courier.accept(Outgoing::Line("b".into()));
        courier.accept(progress(1));
        courier.accept(progress(2));
        courier.accept(Outgoing::Line("c".into()));
        let lines = |lines: &[&str]| AgentEvent::Log {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let expected = [
            lines(&["a", "b"]),
            AgentEvent::Progress {
                step: "write-image".into(),
                done: 2,
                total: None,
                fetched: None,
            },
            lines(&["c"]),
        ];
        assert_eq!(courier.pending, expected);
    }

    #[test]
    fn a_long_silence_keeps_events_and_drops_lines() {
        let mut courier = courier();
        for number in 0..BACKLOG {
            courier.accept(Outgoing::Event(AgentEvent::StepStarted {
                step: number.to_string(),
            }));
        }
        courier.accept(Outgoing::Line("lost".into()));
        let last = AgentEvent::StepStarted {
            step: "kept".into(),
        };
        courier.accept(Outgoing::Event(last.clone()));
        assert_eq!(courier.pending.len(), BACKLOG + 1);
        assert_eq!(courier.pending.back(), Some(&last));
    }

    #[test]
    fn what_a_spent_token_tells_is_not_heard() {
        for refused in [false, true] {
            let (queue, outgoing) = channel();
            let (done, wait) = channel();
            queue.send(Outgoing::Flush(done)).unwrap();
            drop(queue);
            let courier = Courier {
                outgoing,
                refused,
                ..courier()
            };
            courier.run();
            assert_eq!(wait.recv(), Ok(!refused));
        }
    }
}
