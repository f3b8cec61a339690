//! The way from firmware to the agent: which boot file is being tried, which one works, and what is
//! told of it.
//!
//! A file has failed when all of it arrived, nothing was heard of what it holds, and then firmware
//! asks again. A transfer that broke off says something of the network and nothing of the file; an
//! operating system that asks in between (the firmware went on to its disk) says nothing at all. A
//! machine that is switched off in the second between the file's last byte and iPXE's first packet
//! looks like a failure, and costs nothing but that the next file is tried first from then on.

use super::step::Transition;
use super::{Severity, Timestamp};
use crate::boot::{
    AGENT_IMAGE, AGENT_INITRAMFS, Asker, Attempt, BootHistory, Diagnosis, FirmwareClass,
    LOCAL_DISK, SHIM, Stage, Transfer,
};
use crate::identity::MacAddress;
use crate::inventory::Inventory;

/// A packet that was overtaken by the transfer is no new boot: no firmware starts over in less.
const SHORTEST_RESTART: Timestamp = 1000;
/// A boot of which nothing was heard for longer is forgotten: the appliance may have been away.
const LONGEST_BOOT: Timestamp = 10 * 60 * 1000;

impl Transition {
    /// A DHCP message of the boot. `is_taken`: it has its address now.
    pub(super) fn boot_asked(&mut self, asker: Asker, boot_file: Option<String>, is_taken: bool) {
        match asker {
            Asker::System => self.system_asked(),
            Asker::Ipxe => self.ipxe_asked(),
            Asker::Firmware { class: None } => {
                self.state.boot.trying = None;
                self.diagnosed(
                    Diagnosis::UnknownFirmware,
                    "there is no boot file for its architecture",
                );
            }
            Asker::Firmware { class: Some(class) } => {
                self.firmware_asked(class, boot_file, is_taken);
            }
        }
    }

    /// The agent's kernel asks for an address: that of a unified image, or the one that was fetched by
    /// the script. Any other system was booted by somebody else.
    fn system_asked(&mut self) {
        let now = self.now;
        let Some(attempt) = &mut self.state.boot.trying else {
            return;
        };
        let is_unified = attempt.file.as_deref() == Some(AGENT_IMAGE) && attempt.is_lost();
        let has_kernel = attempt.agent.as_ref().is_some_and(Transfer::is_whole);
        if is_unified || (attempt.stage == Stage::Scripted && has_kernel) {
            attempt.stage = Stage::Fetched;
            attempt.heard = now;
        }
    }

    fn ipxe_asked(&mut self) {
        let now = self.now;
        match &mut self.state.boot.trying {
            Some(attempt)
                if attempt.stage < Stage::Started
                    && now.saturating_sub(attempt.heard) < LONGEST_BOOT =>
            {
                attempt.heard = now;
                attempt.stage = Stage::Started;
                let is_its_work = attempt.has_file();
                if is_its_work {
                    self.boot_file_worked();
                }
            }
            Some(attempt)
                if attempt.stage == Stage::Started
                    && now.saturating_sub(attempt.heard) < LONGEST_BOOT =>
            {
                attempt.heard = now;
            }
            _ => {
                self.state.boot.trying = Some(Attempt {
                    stage: Stage::Started,
                    asked: 1,
                    ..attempt(None, None, now)
                });
            }
        }
    }

    fn firmware_asked(&mut self, class: FirmwareClass, boot_file: Option<String>, is_taken: bool) {
        let now = self.now;
        let last = self.state.boot.trying.take();
        if let Some(last) = &last {
            self.judge(last, boot_file.as_deref());
        }
        let Some(file) = boot_file.filter(|file| file != LOCAL_DISK) else {
            return;
        };
        let goes_on = |last: &Attempt| {
            let is_stray = last.is_lost() && now < last.heard.saturating_add(SHORTEST_RESTART);
            let is_recent = now.saturating_sub(last.heard) < LONGEST_BOOT;
            let is_waiting = last.stage < Stage::Asked && is_recent;
            last.class == Some(class) && (is_stray || is_waiting)
        };
        let mut current = match last.filter(goes_on) {
            Some(last) => last,
            None => attempt(Some(class), None, now),
        };
        if !current.is_lost() {
            current.file = Some(file);
        }
        current.heard = now;
        current.asked = current.asked.saturating_add(1);
        if is_taken {
            current.stage = current.stage.max(Stage::Taken);
        }
        self.state.boot.trying = Some(current);
    }

    /// Firmware asks again: whether its last boot file failed.
    fn judge(&mut self, last: &Attempt, next: Option<&str>) {
        let silence = self.now.saturating_sub(last.heard);
        // A silence that was told was heard out, however long the machine stood there afterwards.
        let was_told = [
            Diagnosis::BootFileDidNotRun,
            Diagnosis::UnsignedUnderSecureBoot,
        ]
        .iter()
        .any(|diagnosis| self.was_told_since(*diagnosis, last.since));
        let is_evidence = silence >= SHORTEST_RESTART && (silence <= LONGEST_BOOT || was_told);
        let Some(file) = last.file.clone().filter(|_| last.is_lost() && is_evidence) else {
            return;
        };
        let record = self.state.boot.files.entry(file.clone()).or_default();
        record.failed = record.failed.saturating_add(1);
        forget_old(&mut self.state.boot);
        let then = match next {
            Some(LOCAL_DISK) | None => String::new(),
            Some(next) if next == file => format!("; {file} is offered again"),
            Some(next) => format!("; offering {next} next"),
        };
        let seen = format!("{file} was fetched whole and did not run{then}");
        let diagnosis = match last.class {
            Some(class) => not_run(&self.state.boot, class, &file),
            None => Diagnosis::BootFileDidNotRun,
        };
        match was_told {
            true => self.tell(Severity::Warning, seen),
            false => self.record_diagnosis(diagnosis, &seen),
        }
    }

    pub(super) fn boot_transfer_began(&mut self, file: &str) {
        let now = self.now;
        let Some(attempt) = &mut self.state.boot.trying else {
            return;
        };
        attempt.heard = now;
        if attempt.stage == Stage::Scripted {
            // What arrived whole stays known.
            attempt.agent = attempt.agent.take().filter(Transfer::is_whole);
        } else if attempt.stage < Stage::Started {
            if self.fetches_more(file) {
                return;
            }
            if let Some(attempt) = &mut self.state.boot.trying
                && !attempt.has_file()
            {
                // Firmware may take the file of an earlier offer.
                attempt.file = Some(file.to_owned());
                attempt.stage = Stage::Asked;
                attempt.transfer = None;
            }
        }
    }

    pub(super) fn boot_transferred(&mut self, transfer: &Transfer) {
        let now = self.now;
        let Some(attempt) = &mut self.state.boot.trying else {
            return;
        };
        attempt.heard = now;
        if attempt.stage == Stage::Scripted {
            attempt.agent = Some(transfer.clone());
            if transfer.file == AGENT_INITRAMFS && transfer.is_whole() {
                attempt.stage = Stage::Fetched;
            }
        } else if attempt.stage < Stage::Started {
            if self.fetches_more(&transfer.file) {
                return;
            }
            if let Some(attempt) = &mut self.state.boot.trying {
                attempt.file = Some(transfer.file.clone());
                attempt.transfer = Some(transfer.clone());
                attempt.stage = Stage::Asked;
            }
        }
    }

    /// Whether the boot file works: the shim, or another loader, that fetches what comes after it.
    fn fetches_more(&mut self, file: &str) -> bool {
        let Some(attempt) = &mut self.state.boot.trying else {
            return false;
        };
        let is_more = attempt.is_lost() && attempt.file.as_deref() != Some(file);
        if is_more {
            attempt.stage = Stage::Started;
            self.boot_file_worked();
        }
        is_more
    }

    /// A script was given out, with orders to start the agent or without.
    pub(super) fn boot_scripted(&mut self, starts_agent: bool) {
        let now = self.now;
        let Some(attempt) = &mut self.state.boot.trying else {
            return;
        };
        attempt.heard = now;
        // The request for the image itself, which has yet to arrive and to run.
        if attempt.file.as_deref() == Some(AGENT_IMAGE) && attempt.stage < Stage::Started {
            attempt.stage = Stage::Asked;
            return;
        }
        let is_its_work = attempt.is_lost();
        attempt.stage = Stage::Scripted;
        attempt.agent = None;
        if is_its_work {
            self.boot_file_worked();
        }
        if !starts_agent {
            self.state.boot.trying = None;
        }
    }

    /// The agent runs.
    pub(super) fn boot_succeeded(&mut self) {
        let Some(attempt) = &self.state.boot.trying else {
            return;
        };
        if attempt.file.as_deref() == Some(AGENT_IMAGE) && attempt.has_file() {
            self.boot_file_worked();
        }
        self.state.boot.trying = None;
    }

    /// Two machines that cluster.yaml cannot tell apart, since it knows them by a UUID that both have.
    /// One of them with another NIC would still have its disks.
    pub(super) fn notice_another_machine(&mut self, inventory: &Inventory) {
        let Some(before) = self.state.inventory.as_ref().map(Inventory::identity) else {
            return;
        };
        let now = inventory.identity();
        let differ = |before: &[String], now: &[String]| {
            !before.is_empty() && !now.is_empty() && !before.iter().any(|one| now.contains(one))
        };
        let words =
            |macs: &[MacAddress]| -> Vec<String> { macs.iter().map(ToString::to_string).collect() };
        let (macs_before, macs_now) = (words(&before.macs), words(&now.macs));
        let Some(uuid) = now.uuid.clone().filter(|_| before.uuid == now.uuid) else {
            return;
        };
        if differ(&macs_before, &macs_now) && differ(&before.disks, &now.disks) {
            let seen = format!(
                "two machines with the SMBIOS UUID {uuid} answer to this name, one with {}, one with {}. \
                 Match both by `mac` or `serial`",
                macs_before.join(", "),
                macs_now.join(", ")
            );
            self.diagnosed(Diagnosis::DuplicateUuid, &seen);
        }
    }

    fn boot_file_worked(&mut self) {
        let attempt = self.state.boot.trying.as_ref();
        let Some(file) = attempt.and_then(|attempt| attempt.file.clone()) else {
            return;
        };
        let record = self.state.boot.files.entry(file.clone()).or_default();
        let is_news = record.worked.is_none() || record.failed > 0;
        record.worked = Some(self.now);
        record.failed = 0;
        forget_old(&mut self.state.boot);
        if is_news {
            self.tell(Severity::Info, format!("{file} works on this machine"));
        }
    }

    /// Tells a diagnosis: of the boot that is under way once, of the network now and then. One of a
    /// boot that has ended meanwhile is no news.
    pub(super) fn diagnosed(&mut self, diagnosis: Diagnosis, seen: &str) {
        let is_news = match (&self.state.boot.trying, diagnosis.is_of_a_boot()) {
            (Some(attempt), true) => !self.was_told_since(diagnosis, attempt.since),
            (None, true) => false,
            (_, false) if diagnosis == Diagnosis::SystemSilent => {
                let installed = self.state.figures.installed.unwrap_or_default();
                !self.was_told_since(diagnosis, installed)
            }
            (_, false) => {
                let told = self.state.boot.told.get(&diagnosis);
                told.is_none_or(|told| self.now.saturating_sub(*told) >= diagnosis.repeated_after())
            }
        };
        if is_news {
            self.record_diagnosis(diagnosis, seen);
        }
    }

    fn record_diagnosis(&mut self, diagnosis: Diagnosis, seen: &str) {
        self.state.boot.told.insert(diagnosis, self.now);
        let text = format!("{}: {seen}", diagnosis.name());
        self.tell(Severity::Warning, text);
    }

    fn was_told_since(&self, diagnosis: Diagnosis, since: Timestamp) -> bool {
        let told = self.state.boot.told.get(&diagnosis);
        told.is_some_and(|told| *told > since)
    }
}

/// Under which name it is told that a file arrived and did not run. Firmware that ever ran an unsigned
/// file does not insist on signatures.
pub(crate) fn not_run(history: &BootHistory, class: FirmwareClass, file: &str) -> Diagnosis {
    let is_unsigned = |file: &str| file != SHIM;
    let ran_unsigned = history
        .files
        .iter()
        .any(|(other, record)| is_unsigned(other) && record.worked.is_some());
    match class != FirmwareClass::Bios && is_unsigned(file) && !ran_unsigned {
        true => Diagnosis::UnsignedUnderSecureBoot,
        false => Diagnosis::BootFileDidNotRun,
    }
}

fn attempt(class: Option<FirmwareClass>, file: Option<String>, now: Timestamp) -> Attempt {
    Attempt {
        class,
        file,
        since: now,
        heard: now,
        asked: 0,
        stage: Stage::Offered,
        transfer: None,
        agent: None,
    }
}

/// The names come from cluster.yaml, which may change often.
fn forget_old(history: &mut BootHistory) {
    while history.files.len() > BootHistory::MOST_FILES {
        let oldest = history
            .files
            .iter()
            .min_by_key(|(_, record)| (record.worked, record.failed))
            .map(|(file, _)| file.clone());
        match oldest {
            Some(file) => history.files.remove(&file),
            None => return,
        };
    }
}
