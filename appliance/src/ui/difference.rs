//! A plan as lines that a person can read: on the command line and on a page.

use std::fmt::Write as _;

use hardway_model::desired::ConfigApplier;
use hardway_model::plan::{Decision, Plan, Step};
use hardway_model::preview::{DiskPreview, Fate, Preview, Role};
use hardway_model::quantity::ByteSize;

/// A line, and what it tells of.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// What becomes of it; `None` where it is no thing on a disk.
    pub fate: Option<Fate>,
    /// In words.
    pub text: String,
}

impl Line {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            fate: None,
            text: text.into(),
        }
    }
}

/// The whole difference, from the verdict to the steps.
pub fn lines(preview: &Preview) -> Vec<Line> {
    let mut lines = vec![Line::plain(verdict(preview))];
    if let Decision::Refuse { refusal } = &preview.decision {
        for text in refusal.cause.lines().chain(refusal.remedy.lines()) {
            lines.push(Line::plain(format!("  {text}")));
        }
    }
    for disk in &preview.disks {
        lines.push(Line::plain(format!("  {}", heading(disk))));
        for change in &disk.changes {
            lines.push(Line {
                fate: Some(change.fate),
                text: format!("    {} {}", sign(change.fate), change.what),
            });
        }
        if disk.changes.is_empty() {
            lines.push(Line::plain("      blank"));
        }
    }
    if !preview.further.is_empty() {
        lines.push(Line::plain("  made of these"));
    }
    for text in &preview.further {
        lines.push(Line {
            fate: Some(Fate::Created),
            text: format!("    + {text}"),
        });
    }
    if let Decision::Install { plan, spends } = &preview.decision {
        for disk in spends {
            lines.push(Line::plain(format!("  spends the grant for disk {disk}")));
        }
        lines.push(Line::plain("  step by step"));
        lines.extend(steps(plan));
    }
    lines
}

fn verdict(preview: &Preview) -> String {
    let Preview {
        machine,
        profile,
        image,
        decision,
        ..
    } = preview;
    match decision {
        Decision::Install { plan, .. } => format!(
            "{machine} would be installed as generation {}: profile {profile}, image {image}",
            plan.generation
        ),
        Decision::AlreadyInstalled { receipt, .. } => format!(
            "{machine} holds generation {} on disk {} already: it would be started, nothing written",
            receipt.generation, receipt.disk
        ),
        Decision::Refuse { .. } => format!("{machine}: nothing would be written"),
    }
}

fn heading(disk: &DiskPreview) -> String {
    let mut text = format!("{} ({}, {}", disk.path, disk.id, ByteSize(disk.size));
    let facts = [&disk.model, &disk.transport];
    for fact in facts.into_iter().flatten() {
        // Writing into a String cannot fail.
        let _ = write!(text, ", {fact}");
    }
    text.push_str(match disk.role {
        Role::System => "): the system's",
        Role::Data => "): for data",
        Role::Untouched => "): not touched",
    });
    text
}

fn sign(fate: Fate) -> char {
    match fate {
        Fate::Kept => ' ',
        Fate::Created => '+',
        Fate::Changed => '~',
        Fate::Destroyed => '-',
        Fate::Undecided => '?',
    }
}

fn steps(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let text = format!("  {:>3}. {}", index + 1, describe(step));
        lines.push(Line::plain(text));
        if let Step::PrepareDisks { summary, .. } | Step::SetBootEntries { summary, .. } = step {
            let summary = summary.iter();
            lines.extend(summary.map(|line| Line::plain(format!("       {line}"))));
        }
    }
    lines
}

fn describe(step: &Step) -> String {
    match step {
        Step::FetchToolbox { segments } => {
            let size: u64 = segments.iter().map(|segment| segment.size).sum();
            let names: Vec<&str> = segments.iter().map(|s| s.name.as_str()).collect();
            format!(
                "fetch the toolbox: {} ({})",
                names.join(", "),
                ByteSize(size)
            )
        }
        Step::ClaimDisk { disk, .. } => {
            format!("claim {} ({}, {})", disk.path, disk.id, ByteSize(disk.size))
        }
        Step::WriteImage { url, sha256, .. } => format!("write {url} (SHA-256 {sha256})"),
        Step::WriteChunks { index, compare, .. } => match compare {
            false => format!("write {index}"),
            true => format!("write what differs from {index}"),
        },
        Step::ReadBack => "read all of it back and compare".into(),
        Step::PrepareDisks { erase, .. } => match erase.is_empty() {
            true => "prepare the disks:".into(),
            false => format!("erase {}, and prepare the disks:", erase.join(", ")),
        },
        Step::GrowPartitionTable { partition: None } => {
            "let the last partition fill the disk".into()
        }
        Step::GrowPartitionTable {
            partition: Some(number),
        } => format!("let partition {number} grow up to what follows it"),
        Step::GrowFilesystem => "let its filesystem fill the partition".into(),
        Step::ApplyConfig { applier, .. } => match applier {
            ConfigApplier::Agent => "apply the configuration".into(),
            ConfigApplier::Flatcar | ConfigApplier::FedoraCoreos => {
                "leave the configuration for the image's own Ignition".into()
            }
        },
        Step::InstallConfirmation { .. } => "leave what confirms that the system runs".into(),
        Step::CommitDisk { .. } => "make the disk bootable".into(),
        Step::SetBootEntries { .. } => "set the firmware's boot entries:".into(),
        Step::HandOver { disk, how } => {
            let how = format!("{how:?}").to_lowercase();
            format!("pass control to the system on {} by {how}", disk.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use hardway_model::plan::{Refusal, RefusalReason};
    use hardway_model::preview::Change;

    use super::*;

    fn disk(role: Role, changes: &[(Fate, &str)]) -> DiskPreview {
        DiskPreview {
            path: "/dev/vda".into(),
            id: "QEMU_1".into(),
            size: 4 << 30,
            model: None,
            wwn: None,
            transport: Some("virtio".into()),
            role,
            changes: changes
                .iter()
                .map(|(fate, what)| Change {
                    fate: *fate,
                    what: (*what).to_owned(),
                })
                .collect(),
        }
    }

    fn shown(decision: Decision, disks: Vec<DiskPreview>) -> Vec<String> {
        let preview = Preview {
            machine: "node1".into(),
            profile: "etcd".into(),
            image: "node".into(),
            decision,
            disks,
            further: vec!["/data: mounted from /dev/vdb".into()],
        };
        lines(&preview).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_difference_that_a_person_can_read() {
        let plan = Plan {
            machine: "node1".into(),
            generation: 2,
            steps: vec![Step::ReadBack],
        };
        let decision = Decision::Install {
            plan,
            spends: vec!["QEMU_1".into()],
        };
        let system = disk(
            Role::System,
            &[
                (Fate::Destroyed, "partition 1 `old`: 3.0 GiB, ext4"),
                (
                    Fate::Created,
                    "partition 1 `root`: 3.9 GiB, from the image, grown",
                ),
            ],
        );
        assert_eq!(
            shown(decision, vec![system, disk(Role::Untouched, &[])]),
            [
                "node1 would be installed as generation 2: profile etcd, image node",
                "  /dev/vda (QEMU_1, 4.0 GiB, virtio): the system's",
                "    - partition 1 `old`: 3.0 GiB, ext4",
                "    + partition 1 `root`: 3.9 GiB, from the image, grown",
                "  /dev/vda (QEMU_1, 4.0 GiB, virtio): not touched",
                "      blank",
                "  made of these",
                "    + /data: mounted from /dev/vdb",
                "  spends the grant for disk QEMU_1",
                "  step by step",
                "    1. read all of it back and compare",
            ]
        );
    }

    #[test]
    fn a_refusal_stands_above_the_disks_it_is_about() {
        let refusal = Refusal {
            reason: RefusalReason::DiskNotBlank,
            cause: "/dev/vda holds ext4".into(),
            remedy: "`hardway grant wipe node1` allows it".into(),
            grantable: Vec::new(),
        };
        let kept = disk(Role::Untouched, &[(Fate::Kept, "ext4 on the whole disk")]);
        let shown = shown(Decision::Refuse { refusal }, vec![kept]);
        assert_eq!(
            shown[..5],
            [
                "node1: nothing would be written",
                "  /dev/vda holds ext4",
                "  `hardway grant wipe node1` allows it",
                "  /dev/vda (QEMU_1, 4.0 GiB, virtio): not touched",
                "      ext4 on the whole disk",
            ]
        );
    }
}
