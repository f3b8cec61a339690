//! The transitions.

use super::report;
use super::{
    BootToken, Effect, Event, Figures, MachineState, Phase, PlannedInstallation, Severity,
    TimelineEntry, Timestamp,
};
use crate::boot::Asker;
use crate::inventory::Inventory;
use crate::plan::{Arming, Decision, Plan, Refusal, Step};
use crate::quantity::{ByteSize, Elapsed};
use crate::receipt::{Receipt, Stage};

/// Characters of a text that are kept.
const LONGEST_TEXT: usize = 2000;
/// Hardware addresses that are remembered of one machine. By its UUID anybody can add one.
const MOST_MACS: usize = 64;

/// A state on its way to the next one, with what is to be done because of it.
pub(super) struct Transition {
    pub(super) state: MachineState,
    pub(super) now: Timestamp,
    effects: Vec<Effect>,
}

pub(super) fn step(
    state: MachineState,
    event: Event,
    now: Timestamp,
) -> (MachineState, Vec<Effect>) {
    let before = durable_part(&state);
    let mut transition = Transition {
        state,
        now,
        effects: Vec::new(),
    };
    transition.state.generation = transition.state.generation.max(1);
    if !matches!(
        event,
        Event::GrantWipe { .. }
            | Event::Arm { .. }
            | Event::Reinstall
            | Event::Note { .. }
            | Event::Diagnosed { .. }
    ) {
        transition.state.first_seen.get_or_insert(now);
        transition.state.last_seen = Some(now);
    }
    transition.apply(event);
    if durable_part(&transition.state) != before {
        transition.effects.push(Effect::Persist);
    }
    (transition.state, transition.effects)
}

/// What has to survive a power cut: all but progress, counters of bytes, the last sign of life, and a
/// boot on its way to the agent.
fn durable_part(state: &MachineState) -> MachineState {
    let mut state = state.clone();
    state.last_seen = None;
    state.boot.trying = None;
    state.boot.told.clear();
    for record in state.boot.files.values_mut() {
        record.worked = record.worked.map(|_| 0);
    }
    state.figures.fetched_before_install = 0;
    state.figures.fetched_image = 0;
    if let Some(token) = &mut state.token {
        token.last_sequence = 0;
    }
    if let Phase::Installing { done, total, .. } = &mut state.phase {
        *done = 0;
        *total = None;
    }
    state
}

impl Transition {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Dhcp {
                mac,
                summary,
                address,
                asker,
                boot_file,
            } => {
                let netboot = asker != Asker::System;
                let macs = &self.state.identity.macs;
                if macs.len() < MOST_MACS && !macs.contains(&mac) {
                    self.state.identity.macs.push(mac);
                }
                let moved = address.is_some() && address != self.state.address;
                self.state.address = address.or(self.state.address);
                if netboot && self.state.phase != Phase::Booting {
                    self.begin_boot();
                }
                // A running system renews its lease all day long.
                if netboot || moved || self.state.phase != Phase::Running {
                    self.tell(Severity::Info, summary);
                }
                self.boot_asked(asker, boot_file, address.is_some());
            }
            Event::TransferBegan { file } => self.boot_transfer_began(&file),
            Event::Transfer(transfer) => {
                if self.state.figures.agent_started.is_none() {
                    let fetched = &mut self.state.figures.fetched_before_install;
                    *fetched = fetched.saturating_add(transfer.bytes);
                }
                self.tell(Severity::Info, transfer.to_string());
                self.boot_transferred(&transfer);
            }
            Event::Script { summary, token } => self.script(summary, token),
            Event::Hello {
                inventory,
                decision,
                confirmation_key,
                fetched,
            } => self.hello(*inventory, *decision, confirmation_key, fetched),
            Event::ConfigServed => {
                if let Some(token) = &mut self.state.token
                    && !token.config_served
                {
                    token.config_served = true;
                    self.tell(Severity::Info, "configuration handed out");
                }
            }
            Event::Report { sequence, event } => report::apply(self, sequence, event),
            Event::Running {
                generation,
                boot_id,
            } => self.confirmed(generation, boot_id),
            Event::GrantWipe { grant } => {
                self.tell(
                    Severity::Info,
                    format!("operator allows disk {} to be overwritten once", grant.disk),
                );
                self.state.grants.retain(|older| older.disk != grant.disk);
                self.state.grants.push(grant);
            }
            Event::Arm { arming } => {
                if self.state.armed.as_ref() != Some(&arming) {
                    let Arming { generation, disk } = &arming;
                    let text = format!(
                        "operator armed it: generation {generation} may be installed on disk {disk}"
                    );
                    self.tell(Severity::Info, text);
                    self.state.armed = Some(arming);
                }
            }
            Event::Reinstall => {
                let reached = self.installed_generation().max(self.state.generation);
                self.state.generation = reached.saturating_add(1);
                self.tell(
                    Severity::Info,
                    format!(
                        "operator wants it installed again, as generation {}",
                        self.state.generation
                    ),
                );
            }
            Event::Diagnosed { diagnosis, seen } => {
                self.diagnosed(diagnosis, &seen);
            }
            Event::Note { text, severity } => self.tell(severity, text),
        }
    }

    /// The firmware starts over. What is installed stays known.
    fn begin_boot(&mut self) {
        if let Phase::Installing { step, .. } = &self.state.phase {
            let text = format!("restarted during {step}; the installation will begin again");
            self.tell(Severity::Warning, text);
        }
        self.state.phase = Phase::Booting;
        self.state.figures = Figures {
            boot_started: Some(self.now),
            ..Figures::default()
        };
    }

    fn script(&mut self, summary: String, token: Option<String>) {
        if self.state.phase != Phase::Booting {
            self.begin_boot();
        }
        // Whatever agent ran before is gone, and its token with it.
        self.state.token = token.map(|token| BootToken {
            token,
            issued: self.now,
            config_served: false,
            last_sequence: 0,
        });
        self.tell(Severity::Info, summary);
        let starts_agent = self.state.token.is_some();
        self.boot_scripted(starts_agent);
    }

    fn hello(
        &mut self,
        inventory: Inventory,
        decision: Decision,
        confirmation_key: String,
        fetched: u64,
    ) {
        if self.state.figures.agent_started.is_none() {
            self.state.figures.agent_started = Some(self.now);
            let before = &mut self.state.figures.fetched_before_install;
            *before = before.saturating_add(fetched);
            let text = format!(
                "agent started{}, {} fetched so far; found {}",
                self.since_power_on(),
                ByteSize(self.state.figures.fetched_before_install),
                summary(&inventory)
            );
            self.tell(Severity::Info, text);
        }
        self.boot_succeeded();
        self.notice_another_machine(&inventory);
        self.learn(inventory);
        match decision {
            Decision::Install { plan, spends } => self.order(&plan, spends, confirmation_key),
            Decision::AlreadyInstalled { receipt, .. } => self.adopt(*receipt),
            Decision::Refuse { refusal } => self.hold(refusal),
        }
    }

    fn order(&mut self, plan: &Plan, spends: Vec<String>, confirmation_key: String) {
        self.state.phase = Phase::Agent;
        self.state.confirmation_key = Some(confirmation_key);
        self.state.adopted_confirmation = None;
        let planned = complete_receipt(plan).map(|receipt| PlannedInstallation {
            receipt: receipt.clone(),
            spends,
            disks: disks_in_words(plan).to_vec(),
        });
        if planned != self.state.planned {
            self.tell(
                Severity::Info,
                format!("orders: install generation {}", plan.generation),
            );
            let disks = disks_in_words(plan);
            if !disks.is_empty() {
                // They are indented to stand below one another.
                let lines = disks.iter().map(|line| line.trim_start());
                let line = lines.collect::<Vec<_>>().join("; ");
                self.tell(Severity::Info, format!("disks: {line}"));
            }
        }
        self.state.planned = planned;
    }

    fn learn(&mut self, inventory: Inventory) {
        let mut identity = inventory.identity();
        if identity.macs.is_empty() {
            identity.macs = std::mem::take(&mut self.state.identity.macs);
        }
        self.state.identity = identity;
        self.state.inventory = Some(inventory);
    }

    /// The disk says that it is done; the journal may not know it.
    fn adopt(&mut self, receipt: Receipt) {
        if self.state.phase != Phase::Installed {
            let text = format!(
                "generation {} is on disk {} already; handing over to it",
                receipt.generation, receipt.disk
            );
            self.tell(Severity::Info, text);
        }
        self.state.generation = self.state.generation.max(receipt.generation);
        self.spend_older_grants(&receipt);
        // Of an installation on record the key itself is known.
        let is_known = |known: &Receipt| {
            (known.generation, known.confirmation) == (receipt.generation, receipt.confirmation)
        };
        if !self.state.installed.as_ref().is_some_and(is_known) {
            self.state.adopted_confirmation = receipt.confirmation;
        }
        self.state.installed = Some(receipt);
        self.state.planned = None;
        self.state.phase = Phase::Installed;
    }

    fn hold(&mut self, refusal: Refusal) {
        let phase = Phase::Held { refusal };
        if let Phase::Held { refusal } = &phase
            && self.state.phase != phase
        {
            let text = format!("held: {}. {}", refusal.cause, refusal.remedy);
            self.tell(Severity::Error, text);
        }
        self.state.phase = phase;
        self.state.planned = None;
    }

    /// The installed system says that it runs.
    fn confirmed(&mut self, generation: u32, boot_id: String) {
        if self.state.boot_id.as_ref() == Some(&boot_id) {
            return;
        }
        // The agent's last reports may have been lost: the plan tells what it was to leave.
        if let Some(planned) = &self.state.planned
            && planned.receipt.generation == generation
        {
            let receipt = planned.receipt.clone();
            self.record_installed(receipt);
            self.state.figures.installed.get_or_insert(self.now);
        }
        if self.installed_generation() != generation {
            let text = format!(
                "a system of generation {generation} says that it runs; on record is generation {}",
                self.installed_generation()
            );
            return self.tell(Severity::Warning, text);
        }
        let replaced = matches!(self.state.phase, Phase::Installing { .. });
        if replaced && generation < self.state.generation {
            return self.tell(
                Severity::Warning,
                format!("a late word of generation {generation}, which is being replaced"),
            );
        }
        let figures = &self.state.figures;
        let text = match (figures.running, figures.installed) {
            (None, Some(_)) => format!("generation {generation} runs{}", self.since_power_on()),
            (None, None) => format!(
                "generation {generation} restarted from its disk and runs{}",
                self.since_power_on()
            ),
            (Some(_), _) => format!("generation {generation} restarted from its disk and runs"),
        };
        self.tell(Severity::Info, text);
        self.state.figures.running.get_or_insert(self.now);
        self.state.phase = Phase::Running;
        self.state.boot_id = Some(boot_id);
        // A late word of the generation before must not take the token from the agent at work.
        if !self.state.wants_install() {
            self.state.token = None;
        }
    }

    /// Remembers a finished installation. Tells whether it was news.
    pub(super) fn record_installed(&mut self, receipt: Receipt) -> bool {
        if receipt.stage != Stage::Complete || receipt.generation < self.installed_generation() {
            return false;
        }
        let is_news = self.state.installed.as_ref() != Some(&receipt);
        self.state.generation = self.state.generation.max(receipt.generation);
        self.spend_older_grants(&receipt);
        self.state.installed = Some(receipt);
        self.state.planned = None;
        is_news
    }

    /// Its first write went unheard: the installation that it was given for stands on the disk.
    fn spend_older_grants(&mut self, receipt: &Receipt) {
        self.state.grants.retain(|grant| {
            let is_for = grant.disk == receipt.disk || receipt.data_disks.contains(&grant.disk);
            !(is_for && grant.time <= receipt.time)
        });
    }

    /// 0 when nothing is installed.
    fn installed_generation(&self) -> u32 {
        self.state
            .installed
            .as_ref()
            .map_or(0, |receipt| receipt.generation)
    }

    /// ", 12 s after power-on", when that is known.
    pub(super) fn since_power_on(&self) -> String {
        match self.state.figures.boot_started {
            Some(start) => format!(
                ", {} after its first packet",
                Elapsed(self.now.saturating_sub(start))
            ),
            None => String::new(),
        }
    }

    pub(super) fn tell(&mut self, severity: Severity, text: impl Into<String>) {
        self.effects.push(Effect::Timeline(TimelineEntry {
            time: self.now,
            severity,
            text: clipped(text.into()),
        }));
    }
}

/// What a machine says of itself cannot fill memory and journal.
pub(super) fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// "4.0 GiB of memory, 2 disks, 1 network interface".
fn summary(inventory: &Inventory) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    format!(
        "{} of memory, {}, {}",
        ByteSize(inventory.memory),
        count(inventory.disks.len(), "disk"),
        count(inventory.nics.len(), "network interface")
    )
}

fn complete_receipt(plan: &Plan) -> Option<&Receipt> {
    plan.steps.iter().find_map(|step| match step {
        Step::CommitDisk { receipt } => Some(receipt),
        _ => None,
    })
}

fn disks_in_words(plan: &Plan) -> &[String] {
    let words = plan.steps.iter().find_map(|step| match step {
        Step::PrepareDisks { summary, .. } => Some(summary.as_slice()),
        _ => None,
    });
    words.unwrap_or_default()
}
