//! The boot doctor's rounds: looks at every machine that is booting, and keeps what was noticed of the
//! network.
//!
//! What is wrong is judged by `hardway_model::doctor`; this is its clock.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hardway_model::boot::Diagnosis;
use hardway_model::desired::AfterInstall;
use hardway_model::doctor::{diagnose, duplicate_uuids, silent_system};
use hardway_model::lifecycle::{Event, Severity, Timestamp};
use hardway_model::view::Notice;

use crate::clock;
use crate::context::Context;
use crate::fleet::Snapshot;

/// Between two looks at the machines that boot.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two comparisons of every machine's UUID with the others'.
const COMPARISON: u32 = 10;
/// Notices that are kept; the one that was noticed least lately makes room.
const MOST_NOTICES: usize = 32;

/// Makes the rounds.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0_u32.. {
        rounds.tick().await;
        look_around(&context, round.is_multiple_of(COMPARISON)).await?;
    }
    Ok(())
}

/// One round.
async fn look_around(context: &Context, compares: bool) -> anyhow::Result<()> {
    let snapshot = context.fleet.snapshot();
    let now = clock::now();
    let mut findings: Vec<(String, Diagnosis, String)> = Vec::new();
    for (name, state) in snapshot.machines.iter() {
        let silent = match stays_off(&snapshot, name) {
            true => None,
            false => silent_system(state, now),
        };
        let found = diagnose(state, now).into_iter().chain(silent);
        findings.extend(found.map(|(diagnosis, seen)| (name.clone(), diagnosis, seen)));
    }
    if compares {
        findings.extend(shared_uuids(&snapshot, now));
    }
    for (name, diagnosis, seen) in findings {
        tracing::warn!("{name}: {diagnosis}: {seen}", diagnosis = diagnosis.name());
        let event = Event::Diagnosed { diagnosis, seen };
        context.fleet.record(&name, event).await?;
    }
    Ok(())
}

/// Whether the machine is switched off when it is installed.
fn stays_off(snapshot: &Snapshot, name: &str) -> bool {
    let profile = snapshot.cluster.as_ref().and_then(|cluster| {
        let machine = cluster.machine(name)?;
        cluster.profile(&machine.profile)
    });
    profile.is_some_and(|profile| profile.after_install == AfterInstall::Poweroff)
}

fn shared_uuids(
    snapshot: &Snapshot,
    now: Timestamp,
) -> impl Iterator<Item = (String, Diagnosis, String)> {
    let diagnosis = Diagnosis::DuplicateUuid;
    let machines = snapshot.machines.iter();
    let shared = duplicate_uuids(machines.map(|(name, state)| (name.as_str(), &**state)));
    shared.into_iter().filter_map(move |(name, seen)| {
        let told = snapshot.machines.get(&name)?.boot.told.get(&diagnosis);
        let is_news =
            told.is_none_or(|told| now.saturating_sub(*told) >= diagnosis.repeated_after());
        is_news.then_some((name, diagnosis, seen))
    })
}

/// What was noticed of the network since the appliance started, one of each kind and text.
#[derive(Debug, Default)]
pub struct Notices(Mutex<VecDeque<Notice>>);

impl Notices {
    /// Notes something, or notes it again. Tells whether it is new: what is noticed again is not worth
    /// a line of the log.
    pub fn add(&self, kind: &str, severity: Severity, text: String) -> bool {
        let is_new = self.insert(kind, severity, &text, clock::now());
        if is_new {
            match severity {
                Severity::Info => tracing::info!("{kind}: {text}"),
                Severity::Warning => tracing::warn!("{kind}: {text}"),
                Severity::Error => tracing::error!("{kind}: {text}"),
            }
        }
        is_new
    }

    fn insert(&self, kind: &str, severity: Severity, text: &str, now: Timestamp) -> bool {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |notice: &Notice| notice.kind == kind && notice.text == text;
        let known = notices.iter().position(is_same);
        let count = match known.and_then(|index| notices.remove(index)) {
            Some(earlier) => earlier.count.saturating_add(1),
            None => 1,
        };
        // There is one mode at a time.
        if kind == "mode" {
            notices.retain(|notice| notice.kind != kind);
        }
        while notices.len() >= MOST_NOTICES {
            notices.pop_front();
        }
        notices.push_back(Notice {
            time: now,
            kind: kind.to_owned(),
            severity,
            text: text.to_owned(),
            count,
        });
        known.is_none()
    }

    /// All of them, the latest last.
    pub fn list(&self) -> Vec<Notice> {
        let notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notices.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use hardway_model::boot::{Asker, FirmwareClass};
    use hardway_model::inventory::Content;
    use hardway_model::plan::{Decision, Refusal, RefusalReason};

    use super::*;
    use crate::fixture::{Appliance, MAC, inventory};

    #[test]
    fn notices_are_counted_and_bounded() {
        let notices = Notices::default();
        let add = |kind, text: &str, now| notices.insert(kind, Severity::Warning, text, now);
        assert!(add("mode", "looking for another server", 1));
        assert!(add("mode", "server", 2));
        assert!(add("foreign-server", "10.77.0.9", 3));
        assert!(!add("foreign-server", "10.77.0.9", 4));
        let list: Vec<(String, u64, u64)> = notices
            .list()
            .into_iter()
            .map(|notice| (notice.text, notice.time, notice.count))
            .collect();
        assert_eq!(list, [("server".into(), 2, 1), ("10.77.0.9".into(), 4, 2)]);
        for number in 0..100 {
            add("address-conflict", &number.to_string(), 5);
        }
        assert_eq!(notices.list().len(), MOST_NOTICES);
    }

    #[tokio::test]
    async fn a_silence_is_told_once() {
        let appliance = Appliance::start().await;
        let context = &appliance.context;
        let lost = Event::Dhcp {
            mac: MAC.parse().unwrap(),
            summary: "took its address".into(),
            address: None,
            asker: Asker::Firmware {
                class: Some(FirmwareClass::UefiX64),
            },
            boot_file: Some("snponly.efi".into()),
        };
        for _ in 0..3 {
            context.fleet.record("node1", lost.clone()).await.unwrap();
        }
        look_around(context, true).await.unwrap();
        let state = context.fleet.snapshot().machines["node1"].clone();
        assert_eq!(
            state.boot.diagnosis(clock::now()),
            None,
            "too early to tell"
        );
        assert_eq!(
            diagnose(&state, clock::now() + 60_000).map(|found| found.0),
            Some(Diagnosis::OfferNotTaken)
        );
    }

    #[tokio::test]
    async fn a_shared_uuid_is_told_once_in_both_timelines() {
        let appliance = Appliance::start().await;
        let context = &appliance.context;
        for (name, mac) in [("node1", MAC), ("52-54-00-00-00-99", "52:54:00:00:00:99")] {
            let mut inventory = inventory(mac, Content::Blank);
            inventory.system.uuid = Some("4c4c4544-0042-3510-8052-b4c04f4a4231".into());
            let refusal = Refusal {
                reason: RefusalReason::NotDeclared,
                cause: String::new(),
                remedy: String::new(),
                grantable: Vec::new(),
            };
            let hello = Event::Hello {
                inventory: Box::new(inventory),
                decision: Box::new(Decision::Refuse { refusal }),
                confirmation_key: String::new(),
                fetched: 0,
            };
            context.fleet.record(name, hello).await.unwrap();
        }
        for _ in 0..3 {
            look_around(context, true).await.unwrap();
        }
        for name in ["node1", "52-54-00-00-00-99"] {
            let timeline = context.fleet.timeline(name).await.unwrap();
            let told = timeline
                .iter()
                .filter(|line| line.text.starts_with("duplicate-uuid: "));
            assert_eq!(told.count(), 1, "{name}: {timeline:#?}");
        }
    }
}
