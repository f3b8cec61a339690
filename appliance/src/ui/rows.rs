//! Views → words for the pages and for the command line's tables.

use hardway_model::boot::Diagnosis;
use hardway_model::inventory::{Content, Firmware};
use hardway_model::lifecycle::{Phase, Severity, TimelineEntry, Timestamp};
use hardway_model::quantity::{ByteSize, Elapsed};
use hardway_model::view::{CheckView, MachineDetail, MachineView, Notice};
use hardway_model::{inventory, lifecycle};

use crate::clock;

/// One row of the rack table.
pub struct Row {
    pub name: String,
    pub declared: bool,
    pub profile: String,
    pub phase: &'static str,
    pub step: String,
    pub bar: Option<Bar>,
    pub bytes: String,
    pub generation: String,
    pub address: String,
    pub checks: Vec<CheckView>,
    /// The name of what is wrong with its boot.
    pub diagnosis: Option<&'static str>,
    pub last_seen: String,
}

/// How far a step of known length is.
pub struct Bar {
    pub done: u64,
    pub total: u64,
    pub words: String,
}

impl Row {
    pub fn new(view: MachineView, now: Timestamp) -> Self {
        let (step, bar, bytes) = progress(&view.phase);
        Self {
            phase: view.phase.name(),
            step,
            bar,
            bytes,
            generation: generation(&view),
            address: view
                .address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            last_seen: view
                .last_seen
                .map(|seen| ago(seen, now))
                .unwrap_or_default(),
            profile: view.profile.unwrap_or_default(),
            name: view.name,
            declared: view.declared,
            checks: view.checks,
            diagnosis: view.diagnosis.map(Diagnosis::name),
        }
    }
}

fn progress(phase: &Phase) -> (String, Option<Bar>, String) {
    match phase {
        Phase::Installing { step, done, total } => {
            let total = total.filter(|total| *total > 0);
            let bar = total.map(|total| Bar {
                done: *done,
                total,
                words: format!("{} of {}", ByteSize(*done), ByteSize(total)),
            });
            let bytes = match done {
                0 => String::new(),
                done => ByteSize(*done).to_string(),
            };
            (step.clone(), bar, bytes)
        }
        Phase::Failed { step, .. } => (step.clone(), None, String::new()),
        _ => (String::new(), None, String::new()),
    }
}

/// `1`, or `2, disk has 1` while the two differ.
fn generation(view: &MachineView) -> String {
    match view.installed_generation {
        Some(installed) if installed != view.generation => {
            format!("{}, disk has {installed}", view.generation)
        }
        _ => view.generation.to_string(),
    }
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.saturating_sub(then) / 1000 {
        0..=4 => "just now".into(),
        seconds @ 5..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7199 => format!("{} min ago", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// Why a machine waits, and the way out.
pub struct Hold {
    pub title: &'static str,
    pub cause: String,
    pub remedy: String,
}

impl Hold {
    pub fn of(phase: &Phase) -> Option<Self> {
        match phase {
            Phase::Held { refusal } => Some(Self {
                title: "Held: nothing is written",
                cause: refusal.cause.clone(),
                remedy: refusal.remedy.clone(),
            }),
            Phase::Failed { step, cause } => Some(Self {
                title: "Failed; the agent tries again",
                cause: format!("{step}: {cause}"),
                remedy: String::new(),
            }),
            _ => None,
        }
    }
}

/// What is known of a machine's hardware and last installation, as name and value.
pub fn facts(detail: &MachineDetail) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(found) = &detail.inventory {
        let system = &found.system;
        let words = [&system.manufacturer, &system.product];
        let words: Vec<&str> = words
            .into_iter()
            .filter_map(|word| word.as_deref())
            .collect();
        facts.push(("Hardware", words.join(" ")));
        facts.push(("Serial", system.serial.clone().unwrap_or_default()));
        facts.push(("UUID", system.uuid.clone().unwrap_or_default()));
        let firmware = match found.firmware {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
        };
        facts.push(("Firmware", firmware.into()));
        facts.push(("Memory", ByteSize(found.memory).to_string()));
        let model = found.processor.model.as_deref().unwrap_or("unknown");
        facts.push(("Processor", format!("{} × {model}", found.processor.count)));
        facts.push(("Without a driver", found.driverless.join(", ")));
    }
    if let Some(receipt) = &detail.installed {
        facts.push(("Installed on", receipt.disk.clone()));
        facts.push(("Image", receipt.image.to_string()));
    }
    for grant in &detail.grants {
        facts.push(("Grant", format!("disk {} may be written once", grant.disk)));
    }
    facts.extend(boot_files(detail));
    facts.extend(figures(&detail.machine.figures));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Which boot file works, and which did not.
fn boot_files(detail: &MachineDetail) -> Vec<(&'static str, String)> {
    let history = &detail.boot;
    let failed: Vec<String> = history
        .files
        .iter()
        .filter(|(_, record)| record.failed > 0)
        .map(|(file, record)| match record.failed {
            1 => format!("{file} (once)"),
            times => format!("{file} ({times} times)"),
        })
        .collect();
    vec![
        ("Boots by", history.working().unwrap_or_default().to_owned()),
        ("Did not run", failed.join(", ")),
    ]
}

fn figures(figures: &lifecycle::Figures) -> Vec<(&'static str, String)> {
    let since_boot = |moment: Option<Timestamp>| {
        let elapsed = moment?.checked_sub(figures.boot_started?)?;
        Some(Elapsed(elapsed).to_string())
    };
    let bytes = |count: u64| match count {
        0 => String::new(),
        count => ByteSize(count).to_string(),
    };
    vec![
        (
            "First packet to agent",
            since_boot(figures.agent_started).unwrap_or_default(),
        ),
        (
            "First packet to installed",
            since_boot(figures.installed).unwrap_or_default(),
        ),
        (
            "First packet to running",
            since_boot(figures.running).unwrap_or_default(),
        ),
        (
            "Fetched before installing",
            bytes(figures.fetched_before_install),
        ),
        ("Fetched of the image", bytes(figures.fetched_image)),
    ]
}

/// One disk.
pub struct Disk {
    pub path: String,
    pub size: String,
    pub id: String,
    pub kind: String,
    pub content: String,
}

impl Disk {
    pub fn new(disk: &inventory::Disk) -> Self {
        let mut kind = vec![disk.transport.clone().unwrap_or_default()];
        kind.extend(disk.rotational.then(|| "rotational".to_owned()));
        kind.extend(disk.removable.then(|| "removable".to_owned()));
        kind.extend(disk.read_only.then(|| "read-only".to_owned()));
        kind.retain(|word| !word.is_empty());
        Self {
            path: disk.path.clone(),
            size: ByteSize(disk.size).to_string(),
            id: disk.id(),
            kind: kind.join(", "),
            content: content(&disk.content),
        }
    }
}

fn content(content: &Content) -> String {
    match content {
        Content::Blank => "blank".into(),
        Content::Ours { receipt } => format!(
            "{} of cluster {}, generation {}",
            receipt.machine, receipt.cluster, receipt.generation
        ),
        Content::Foreign { signatures } => signatures.join("; "),
        Content::Unreadable { error } => format!("unreadable: {error}"),
    }
}

/// One network interface.
pub struct Nic {
    pub name: String,
    pub mac: String,
    pub driver: String,
    pub link: String,
}

impl Nic {
    pub fn new(nic: &inventory::Nic) -> Self {
        Self {
            name: nic.name.clone(),
            mac: nic.mac.to_string(),
            driver: nic.driver.clone().unwrap_or_default(),
            link: match (nic.carrier, nic.speed) {
                (false, _) => "no carrier".into(),
                (true, None) => "up".into(),
                (true, Some(speed)) => format!("{speed} Mbit/s"),
            },
        }
    }
}

/// One notice of the network.
pub struct NoticeLine {
    pub time: String,
    pub kind: String,
    pub severity: &'static str,
    pub text: String,
}

impl NoticeLine {
    pub fn new(notice: Notice) -> Self {
        let text = match notice.count {
            0 | 1 => notice.text,
            count => format!("{} ({count} times)", notice.text),
        };
        Self {
            time: clock::utc(notice.time),
            kind: notice.kind,
            severity: word(notice.severity),
            text,
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// One line of a timeline.
pub struct Line {
    pub time: String,
    pub severity: &'static str,
    pub text: String,
}

impl Line {
    pub fn new(entry: &TimelineEntry) -> Self {
        Self {
            time: clock::utc(entry.time),
            severity: word(entry.severity),
            text: entry.text.clone(),
        }
    }
}
