//! A machine that boots, and the appliance that watches it.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::fmt::Write;

use hardway_model::boot::{Asker, BootFiles, FirmwareClass, Protocol, SHIM, Transfer, TransferEnd};
use hardway_model::doctor::diagnose;
use hardway_model::inventory::Inventory;
use hardway_model::lifecycle::{Effect, Event, MachineState, Severity, step};
use hardway_model::plan::{Decision, Refusal, RefusalReason};

use FirmwareClass::UefiX64;

use crate::fixture;

/// A machine on a network whose appliance offers what the history says, and the doctor that looks at it.
pub struct Boot {
    pub state: MachineState,
    pub now: u64,
    pub boot_files: BootFiles,
    pub secure_boot: bool,
    pub text: String,
}

impl Boot {
    pub fn new() -> Self {
        Self {
            state: MachineState::default(),
            now: 0,
            boot_files: BootFiles::default(),
            secure_boot: false,
            text: String::new(),
        }
    }

    pub fn happens(&mut self, event: Event) -> &mut Self {
        let (state, effects) = step(std::mem::take(&mut self.state), event, self.now);
        for effect in effects {
            if let Effect::Timeline(entry) = effect {
                let mark = match entry.severity {
                    Severity::Info => "",
                    Severity::Warning | Severity::Error => "! ",
                };
                let seconds = entry.time / 1000;
                let _ = writeln!(self.text, "{seconds:4} s  {mark}{}", entry.text);
            }
        }
        self.state = state;
        self
    }

    /// Time passes, and the doctor looks every second.
    pub fn passes(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds {
            self.now += 1000;
            if let Some((diagnosis, seen)) = diagnose(&self.state, self.now) {
                self.happens(Event::Diagnosed { diagnosis, seen });
            }
        }
        self
    }

    pub fn dhcp(&mut self, asker: Asker, file: Option<&str>, is_taken: bool) -> &mut Self {
        let kind = match is_taken {
            true => "took",
            false => "offered",
        };
        self.happens(Event::Dhcp {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            summary: format!("{kind} {}", file.unwrap_or("an address")),
            address: is_taken.then(|| "10.77.0.11".parse().unwrap()),
            asker,
            boot_file: file.map(str::to_owned),
        })
    }

    /// The file that firmware of this class is offered now.
    pub fn choice(&self, class: FirmwareClass) -> String {
        let files = self.boot_files.of(class);
        match class == UefiX64 && self.secure_boot {
            true => SHIM.to_owned(),
            false => self.state.boot.choose(files).unwrap().to_owned(),
        }
    }

    pub fn discovers(&mut self, class: FirmwareClass) -> &mut Self {
        let file = self.choice(class);
        self.dhcp(Asker::Firmware { class: Some(class) }, Some(&file), false)
    }

    /// DISCOVER and REQUEST.
    pub fn firmware(&mut self, class: FirmwareClass) -> &mut Self {
        self.discovers(class);
        let file = self.choice(class);
        self.dhcp(Asker::Firmware { class: Some(class) }, Some(&file), true)
    }

    pub fn transfer(&mut self, file: &str, bytes: u64, size: u64, end: TransferEnd) -> &mut Self {
        self.happens(Event::Transfer(Transfer {
            file: file.to_owned(),
            protocol: Protocol::Tftp,
            bytes,
            size,
            end,
            took: 10,
        }))
    }

    pub fn fetches(&mut self, file: &str) -> &mut Self {
        self.transfer(file, 260_000, 260_000, TransferEnd::Complete)
    }

    /// The size is asked for, and then the file that was offered.
    pub fn fetches_its_file(&mut self) -> &mut Self {
        let attempt = self.state.boot.trying.as_ref().unwrap();
        let file = attempt.file.clone().unwrap();
        let enough = TransferEnd::Aborted {
            code: Some(8),
            message: "User aborted the transfer".into(),
        };
        self.transfer(&file, 0, 260_000, enough).fetches(&file)
    }

    pub fn ipxe(&mut self) -> &mut Self {
        self.dhcp(Asker::Ipxe, None, false)
            .dhcp(Asker::Ipxe, None, true)
    }

    pub fn script(&mut self, token: Option<&str>) -> &mut Self {
        self.happens(Event::Script {
            summary: "script".into(),
            token: token.map(str::to_owned),
        })
    }

    pub fn hello(&mut self) -> &mut Self {
        self.says_hello(fixture::inventory(Vec::new()))
    }

    pub fn says_hello(&mut self, inventory: Inventory) -> &mut Self {
        let refusal = Refusal {
            reason: RefusalReason::NotDeclared,
            cause: "it is not declared".into(),
            remedy: "Declare it.".into(),
            grantable: Vec::new(),
        };
        self.happens(Event::Hello {
            inventory: Box::new(inventory),
            decision: Box::new(Decision::Refuse { refusal }),
            confirmation_key: String::new(),
            fetched: 0,
        })
    }

    pub fn failed(&self, file: &str) -> u32 {
        self.state
            .boot
            .files
            .get(file)
            .map_or(0, |record| record.failed)
    }
}

/// The lines that are no plain record of what happened.
pub fn findings(boot: &Boot) -> Vec<&str> {
    let is_finding = |line: &&str| line.contains("! ") || line.contains("works on");
    boot.text
        .lines()
        .map(str::trim)
        .filter(is_finding)
        .collect()
}
