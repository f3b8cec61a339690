//! A machine's life as the operator reads it: events in, timeline and phase out.

mod fixture;

use std::fmt::Write;

use fixture::{circumstances, desired, disk, foreign, inventory};
use hardway_model::boot::{Asker, Protocol, Transfer, TransferEnd};
use hardway_model::desired::{DiskSelector, WipePolicy};
use hardway_model::inventory::Content;
use hardway_model::lifecycle::{Effect, Event, MachineState, Phase, Severity, step};
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{Circumstances, Decision, Grant, plan};
use hardway_model::receipt::{Receipt, Stage};

/// A machine and what was written of it.
#[derive(Default)]
struct Story {
    state: MachineState,
    now: u64,
    sequence: u64,
    text: String,
}

impl Story {
    /// One event, a second after the one before. `*` marks a durable change.
    fn happens(&mut self, event: Event) -> &mut Self {
        self.now += 1000;
        let (state, effects) = step(std::mem::take(&mut self.state), event, self.now);
        let durable = effects.contains(&Effect::Persist);
        for effect in effects {
            if let Effect::Timeline(entry) = effect {
                assert_eq!(entry.time, self.now);
                let severity = match entry.severity {
                    Severity::Info => "",
                    Severity::Warning => "WARNING ",
                    Severity::Error => "ERROR ",
                };
                let _ = writeln!(
                    self.text,
                    "{:2} s  {severity}{}",
                    self.now / 1000,
                    entry.text
                );
            }
        }
        if durable {
            let _ = writeln!(self.text, "      * {}", state.phase.name());
        }
        self.state = state;
        self
    }

    fn dhcp(&mut self, netboot: bool) -> &mut Self {
        self.happens(Event::Dhcp {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            summary: "REQUEST → acknowledged 10.77.0.11".into(),
            address: Some("10.77.0.11".parse().unwrap()),
            asker: match netboot {
                true => Asker::Ipxe,
                false => Asker::System,
            },
            boot_file: None,
        })
    }

    fn boots_the_agent(&mut self) -> &mut Self {
        self.dhcp(true);
        self.happens(Event::Transfer(Transfer {
            file: "snponly.efi".into(),
            protocol: Protocol::Tftp,
            bytes: 284_672,
            size: 284_672,
            end: TransferEnd::Complete,
            took: 100,
        }));
        self.sequence = 0;
        self.happens(Event::Script {
            summary: "given the agent".into(),
            token: Some(format!("token of second {}", self.now / 1000)),
        })
    }

    fn hello(&mut self, wipe: WipePolicy, content: Content) -> &mut Self {
        let inventory = inventory(vec![disk('a', 8, content)]);
        let circumstances = Circumstances {
            grants: &self.state.grants,
            now: self.now / 1000,
            ..circumstances(self.state.generation, None)
        };
        let decision = plan(
            &desired(wipe, DiskSelector::default()),
            &inventory,
            circumstances,
        );
        self.happens(Event::Hello {
            inventory: Box::new(inventory),
            decision: Box::new(decision),
            confirmation_key: format!("key of second {}", self.now / 1000),
            fetched: 1 << 20,
        })
    }

    fn reports(&mut self, event: AgentEvent) -> &mut Self {
        self.sequence += 1;
        let sequence = self.sequence;
        self.happens(Event::Report { sequence, event })
    }

    fn starts(&mut self, step: &str) -> &mut Self {
        self.reports(AgentEvent::StepStarted { step: step.into() })
    }

    fn finishes(&mut self, step: &str, summary: &str) -> &mut Self {
        self.reports(AgentEvent::StepFinished {
            step: step.into(),
            summary: summary.into(),
        })
    }

    /// Of an imported image, which makes four times as much.
    fn progresses(&mut self, fetched: u64) -> &mut Self {
        self.reports(AgentEvent::Progress {
            step: "write-image".into(),
            done: 4 * fetched,
            total: Some(4 * (54 << 20)),
            fetched: Some(fetched),
        })
    }

    fn receipt(&self, generation: u32) -> Box<Receipt> {
        let Content::Ours { receipt } = fixture::ours(Stage::Complete, "node1", generation) else {
            unreachable!("the fixture makes receipts");
        };
        receipt
    }

    fn installs(&mut self, generation: u32) -> &mut Self {
        let receipt = self.receipt(generation);
        self.starts("claim-disk")
            .starts("write-image")
            .progresses(20 << 20)
            .progresses(54 << 20)
            .finishes("write-image", "wrote 402 MiB to /dev/vda in 9.1 s")
            .happens(Event::ConfigServed)
            .starts("commit-disk")
            .reports(AgentEvent::Installed { receipt })
            .starts("hand-over")
            .reports(AgentEvent::HandingOver {
                how: "kexec".into(),
                fallback: None,
            })
    }

    fn confirms(&mut self, generation: u32, boot_id: &str) -> &mut Self {
        self.happens(Event::Running {
            generation,
            boot_id: boot_id.into(),
        })
    }
}

fn running() -> Story {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(WipePolicy::IfOurs, Content::Blank)
        .installs(1)
        .confirms(1, "boot 1");
    story.text.clear();
    story
}

#[test]
fn a_blank_machine_becomes_a_running_one() {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, Content::Blank)
        .installs(1)
        .confirms(1, "boot 1")
        .dhcp(false);
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.phase, Phase::Running);
    assert_eq!(story.state.installs_begun, 1);
    assert_eq!(story.state.figures.fetched_image, 54 << 20);
    assert_eq!(
        story.state.figures.fetched_before_install,
        284_672 + (1 << 20)
    );
    assert!(!story.state.wants_install());
}

#[test]
fn a_disk_that_holds_something_waits_for_its_grant() {
    let mut story = Story::default();
    let never = WipePolicy::Never;
    story
        .boots_the_agent()
        .hello(never, foreign())
        .hello(never, foreign())
        .happens(Event::GrantWipe {
            grant: Grant {
                disk: "A".into(),
                time: 0,
            },
        })
        .hello(never, foreign());
    assert!(
        !story.state.grants.is_empty(),
        "not spent before the first write"
    );
    story.starts("claim-disk");
    assert_eq!(story.state.grants, []);
    insta::assert_snapshot!(story.text);
}

#[test]
fn a_grant_is_spent_by_the_installation_that_stands_on_its_disk() {
    let granted = |time| Event::GrantWipe {
        grant: Grant {
            disk: "A".into(),
            time,
        },
    };
    let never = WipePolicy::Never;
    // The power went before the appliance heard of the first write.
    let mut unheard = Story::default();
    unheard
        .boots_the_agent()
        .happens(granted(1))
        .hello(never, foreign())
        .boots_the_agent()
        .hello(never, fixture::ours(Stage::Writing, "node1", 1));
    assert!(!unheard.state.grants.is_empty());
    unheard.installs(1);
    assert_eq!(unheard.state.grants, []);

    let mut adopted = Story::default();
    adopted
        .boots_the_agent()
        .happens(granted(1))
        .hello(never, fixture::ours(Stage::Complete, "node1", 1));
    assert_eq!(adopted.state.grants, []);

    let mut later = running();
    let installed = later.receipt(1).time;
    later
        .happens(granted(installed + 1))
        .boots_the_agent()
        .hello(never, fixture::ours(Stage::Complete, "node1", 1));
    assert!(!later.state.grants.is_empty(), "given for what comes next");
}

#[test]
fn a_failure_is_told_and_tried_again() {
    let mut story = Story::default();
    let cause = "fetching /images/node.img.zst: SHA-256 is 00…, not 01…".to_owned();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, Content::Blank)
        .starts("claim-disk")
        .starts("write-image")
        .reports(AgentEvent::Failed {
            step: "write-image".into(),
            cause,
        })
        .hello(WipePolicy::Never, fixture::ours(Stage::Writing, "node1", 1))
        .starts("claim-disk");
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.installs_begun, 2);
}

#[test]
fn a_power_cut_while_writing_begins_again() {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, Content::Blank)
        .starts("claim-disk")
        .starts("write-image")
        .progresses(20 << 20);
    story.text.clear();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, fixture::ours(Stage::Writing, "node1", 1))
        .installs(1);
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.phase, Phase::Installed);
}

#[test]
fn a_reboot_goes_to_the_disk() {
    let mut story = running();
    story.dhcp(true);
    assert_eq!(story.state.phase, Phase::Booting);
    assert!(
        !story.state.wants_install(),
        "what is installed stays known"
    );
    story
        .happens(Event::Script {
            summary: "sent to its disk".into(),
            token: None,
        })
        .confirms(1, "boot 1")
        .confirms(1, "boot 2");
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.phase, Phase::Running);
}

#[test]
fn a_reinstall_is_the_next_generation() {
    let mut story = running();
    story.happens(Event::Reinstall);
    assert_eq!(story.state.phase, Phase::Running);
    assert!(story.state.wants_install());
    story
        .boots_the_agent()
        .hello(
            WipePolicy::IfOurs,
            fixture::ours(Stage::Complete, "node1", 1),
        )
        .starts("claim-disk")
        .confirms(1, "late")
        .installs(2)
        .confirms(2, "boot 2");
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.phase, Phase::Running);
    assert!(!story.state.wants_install());
}

#[test]
fn late_words_of_the_generation_before_change_nothing() {
    let mut story = running();
    let old = story.receipt(1);
    story
        .happens(Event::Reinstall)
        .boots_the_agent()
        .confirms(1, "late")
        .hello(
            WipePolicy::IfOurs,
            fixture::ours(Stage::Complete, "node1", 1),
        )
        .installs(2)
        .confirms(2, "boot 2");
    assert_eq!(story.state.phase, Phase::Running, "the agent was heard");
    let before = story.state.installed.clone();
    story.happens(Event::Report {
        sequence: 1,
        event: AgentEvent::Installed { receipt: old },
    });
    assert_eq!(story.state.installed, before);
    assert_eq!(story.state.installs_begun, 2);
}

#[test]
fn a_lost_journal_is_mended_from_the_disk() {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(
            WipePolicy::Always,
            fixture::ours(Stage::Complete, "node1", 3),
        )
        .starts("hand-over")
        .confirms(3, "boot 9");
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.generation, 3);
    assert_eq!(story.state.installs_begun, 0);
}

#[test]
fn a_confirmation_stands_in_for_lost_reports() {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, Content::Blank)
        .starts("claim-disk")
        .confirms(2, "of another installation")
        .confirms(1, "boot 1");
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.phase, Phase::Running);
    assert_eq!(
        story.state.installed.map(|receipt| receipt.generation),
        Some(1)
    );
}

#[test]
fn repeated_and_overtaken_reports_change_nothing() {
    let mut story = Story::default();
    story
        .boots_the_agent()
        .hello(WipePolicy::Never, Content::Blank)
        .starts("claim-disk")
        .starts("write-image")
        .progresses(20 << 20);
    let before = story.state.clone();
    story.text.clear();
    for (sequence, event) in [
        (
            1,
            AgentEvent::StepStarted {
                step: "claim-disk".into(),
            },
        ),
        (
            2,
            AgentEvent::StepStarted {
                step: "write-image".into(),
            },
        ),
        (
            2,
            AgentEvent::Failed {
                step: "write-image".into(),
                cause: "old".into(),
            },
        ),
    ] {
        story.happens(Event::Report { sequence, event });
    }
    assert_eq!(story.text, "");
    story.state.last_seen = before.last_seen;
    assert_eq!(story.state, before);
}

#[test]
fn an_undeclared_machine_is_held() {
    let mut story = Story::default();
    story.boots_the_agent();
    let refusal = hardway_model::plan::Refusal {
        reason: hardway_model::plan::RefusalReason::NotDeclared,
        cause: "no machine of cluster.yaml has 52:54:00:00:00:01".into(),
        remedy: "Declare it".into(),
        grantable: Vec::new(),
    };
    story.happens(Event::Hello {
        inventory: Box::new(inventory(Vec::new())),
        decision: Box::new(Decision::Refuse { refusal }),
        confirmation_key: "unused".into(),
        fetched: 0,
    });
    insta::assert_snapshot!(story.text);
    assert_eq!(story.state.confirmation_key, None);
}
