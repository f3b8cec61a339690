//! The live table of `hardway-lab up`: one line a machine, redrawn on a terminal, printed at each
//! change elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use hardway_model::lifecycle::Phase;
use hardway_model::view::MachineView;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::figures::mebibytes;

/// The table.
pub struct Table {
    start: Instant,
    rows: HashMap<String, Row>,
    screen: Option<MultiProgress>,
}

#[derive(Default)]
struct Row {
    bar: Option<ProgressBar>,
    /// What the last printed line said, without figures that change all the time.
    printed: String,
    /// Bytes done of a step, when, and the rate since then.
    progress: Option<(u64, Instant)>,
    rate: f64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            rows: HashMap::new(),
            screen: io::stderr().is_terminal().then(MultiProgress::new),
        }
    }
}

impl Table {
    /// Shows how the machines stand now.
    pub fn show(&mut self, machines: &[MachineView]) {
        for machine in machines {
            let row = self.rows.entry(machine.name.clone()).or_default();
            row.measure(machine);
            let (summary, detail) = (summary(machine), detail(machine, row.rate));
            match &self.screen {
                Some(screen) => {
                    let bar = row.bar.get_or_insert_with(|| {
                        let style = ProgressStyle::with_template("{prefix:<12} {wide_msg}");
                        let bar = screen.add(ProgressBar::new_spinner());
                        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                        bar.set_prefix(machine.name.clone());
                        bar
                    });
                    bar.set_message(format!("{summary:<30} {detail}"));
                }
                None if row.printed != summary => {
                    let seconds = self.start.elapsed().as_secs_f64();
                    println!("{seconds:7.1} s  {:<12} {summary}", machine.name);
                    row.printed = summary;
                }
                None => {}
            }
        }
    }

    /// Takes the table off the screen, so that what is printed next stands alone.
    pub fn close(&mut self) {
        for row in self.rows.values_mut() {
            if let Some(bar) = row.bar.take() {
                bar.finish();
            }
        }
    }
}

impl Row {
    fn measure(&mut self, machine: &MachineView) {
        let Phase::Installing { done, .. } = machine.phase else {
            self.progress = None;
            self.rate = 0.0;
            return;
        };
        let now = Instant::now();
        match self.progress {
            Some((before, since)) if done >= before => {
                let passed = now.duration_since(since);
                if passed >= Duration::from_secs(2) {
                    self.rate = (done - before) as f64 / passed.as_secs_f64();
                    self.progress = Some((done, now));
                }
            }
            _ => self.progress = Some((done, now)),
        }
    }
}

/// State, step and checks.
fn summary(machine: &MachineView) -> String {
    let mut text = machine.phase.name().to_owned();
    match &machine.phase {
        Phase::Installing { step, .. } => text += &format!(" {step}"),
        Phase::Failed { step, cause } => text += &format!(" {step}: {cause}"),
        Phase::Held { refusal } => text += &format!(": {} {}", refusal.cause, refusal.remedy),
        Phase::Running => {
            for check in &machine.checks {
                let sign = if check.ok { "ok" } else { "not yet" };
                text += &format!(", {} {sign}", check.name);
            }
        }
        _ => {}
    }
    text
}

/// Bytes and rate.
fn detail(machine: &MachineView, rate: f64) -> String {
    match &machine.phase {
        Phase::Installing { done, total, .. } if *done > 0 => {
            let total = total.map_or_else(String::new, |total| format!(" of {}", mebibytes(total)));
            format!("{}{total}, {}/s", mebibytes(*done), mebibytes(rate as u64))
        }
        _ => String::new(),
    }
}
