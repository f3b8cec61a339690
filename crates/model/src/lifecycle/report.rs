//! What the agent's reports change.

use super::step::{Transition, clipped};
use super::{Phase, Severity};
use crate::messages::AgentEvent;
use crate::quantity::{ByteSize, Elapsed};
use crate::receipt::Receipt;

/// The step that first writes to the disk.
const FIRST_WRITE: &str = "claim-disk";
/// The steps after the last write to a disk.
const AFTERWARDS: [&str; 2] = ["set-boot-entries", "hand-over"];
/// The step that fetches the image.
const IMAGE: &str = "write-image";
/// The steps that read and write the system disk itself: the kernel's error names none.
const ON_DISK: &[&str] = &[
    FIRST_WRITE,
    IMAGE,
    "read-back",
    "grow-partition-table",
    "grow-filesystem",
    "commit-disk",
];

/// Applies one report. Its sequence number tells a repeated or overtaken one, which is ignored, but
/// for the one whose content tells for itself whether it is news: the receipt of a complete disk.
pub(super) fn apply(transition: &mut Transition, sequence: u64, event: AgentEvent) {
    let is_new = match &mut transition.state.token {
        Some(token) if sequence > token.last_sequence => {
            token.last_sequence = sequence;
            true
        }
        _ => false,
    };
    match event {
        AgentEvent::Installed { receipt } => installed(transition, *receipt),
        _ if !is_new => {}
        AgentEvent::StepStarted { step } => started(transition, step),
        AgentEvent::Progress {
            step,
            done,
            total,
            fetched,
        } => {
            if step == IMAGE {
                transition.state.figures.fetched_image = fetched.unwrap_or(done);
            }
            progress(transition, step, done, total);
        }
        AgentEvent::StepFinished { summary, .. } => transition.tell(Severity::Info, summary),
        AgentEvent::Warning { text } => transition.tell(Severity::Warning, text),
        // The appliance's log keeps the agent's lines; the timeline is for what matters.
        AgentEvent::Log { .. } => {}
        AgentEvent::Failed { step, cause } => {
            let disk = disk_of(transition, &step);
            transition.tell(Severity::Error, format!("{step} failed{disk}: {cause}"));
            transition.state.phase = Phase::Failed {
                step: clipped(step),
                cause: clipped(cause),
            };
        }
        AgentEvent::HandingOver { how, fallback } => match fallback {
            None => transition.tell(Severity::Info, format!("handing over by {how}")),
            Some(reason) => transition.tell(
                Severity::Warning,
                format!("handing over by {how}, because {reason}"),
            ),
        },
    }
}

fn started(transition: &mut Transition, step: String) {
    if step == FIRST_WRITE {
        let state = &mut transition.state;
        state.installs_begun = state.installs_begun.saturating_add(1);
        let planned = state.planned.as_ref();
        if let Some(planned) = planned {
            state
                .grants
                .retain(|grant| !planned.spends.contains(&grant.disk));
        }
        let disk = planned.map_or(String::new(), |planned| {
            format!(
                " of generation {} on disk {}",
                planned.receipt.generation, planned.receipt.disk
            )
        });
        transition.tell(Severity::Info, format!("installation{disk} begins"));
    }
    if !AFTERWARDS.contains(&step.as_str()) {
        transition.state.phase = Phase::Installing {
            step: clipped(step),
            done: 0,
            total: None,
        };
    }
}

/// " (disk QEMU_1)", where the step works on it.
fn disk_of(transition: &Transition, step: &str) -> String {
    match &transition.state.planned {
        Some(planned) if ON_DISK.contains(&step) => format!(" (disk {})", planned.receipt.disk),
        _ => String::new(),
    }
}

fn progress(transition: &mut Transition, step: String, done: u64, total: Option<u64>) {
    if matches!(
        transition.state.phase,
        Phase::Agent | Phase::Installing { .. }
    ) {
        transition.state.phase = Phase::Installing {
            step: clipped(step),
            done,
            total,
        };
    }
}

fn installed(transition: &mut Transition, receipt: Receipt) {
    let generation = receipt.generation;
    // No orders were for a generation that nobody wants yet.
    if generation > transition.state.generation || !transition.record_installed(receipt) {
        return;
    }
    let figures = &mut transition.state.figures;
    figures.installed = Some(transition.now);
    let took = figures.agent_started.map_or(String::new(), |start| {
        format!(" in {}", Elapsed(transition.now.saturating_sub(start)))
    });
    let text = format!(
        "installed generation {generation} from an image of {}{took}{}",
        ByteSize(figures.fetched_image),
        transition.since_power_on()
    );
    transition.tell(Severity::Info, text);
    if transition.state.phase != Phase::Running {
        transition.state.phase = Phase::Installed;
    }
}
