//! Events in, snapshots out.

use hardway_model::lifecycle::{Phase, Severity};

use super::*;
use crate::fixture::Appliance;

fn note(text: &str) -> Event {
    Event::Note {
        text: text.into(),
        severity: Severity::Info,
    }
}

#[tokio::test]
async fn states_and_timelines_survive_a_restart() {
    let appliance = Appliance::start().await;
    let fleet = appliance.context.fleet.clone();
    let script = Event::Script {
        summary: "given the agent".into(),
        token: Some("0123".into()),
    };
    fleet.record("node1", script).await.unwrap();
    let before = fleet.snapshot().machines["node1"].clone();
    assert_eq!(before.phase, Phase::Booting);
    let timeline = fleet.timeline("node1").await.unwrap();
    assert_eq!(timeline.len(), 1);

    // Read as a second start would, from what is on the disk.
    let copy = appliance.folder.path().join("copy.redb");
    std::fs::copy(appliance.folder.path().join("journal.redb"), &copy).unwrap();
    let restarted = Fleet::start(Journal::open(&copy).unwrap()).unwrap();
    let after = restarted.snapshot().machines["node1"].clone();
    assert_eq!(
        (after.generation, &after.token),
        (before.generation, &before.token)
    );
    assert_eq!(restarted.timeline("node1").await.unwrap(), timeline);
}

#[tokio::test]
async fn timelines_are_bounded() {
    let appliance = Appliance::start().await;
    let fleet = &appliance.context.fleet;
    let length = owner::TIMELINE_LENGTH;
    for index in 0..length + 20 {
        fleet
            .record("node1", note(&format!("line {index}")))
            .await
            .unwrap();
    }
    let timeline = fleet.timeline("node1").await.unwrap();
    assert_eq!(timeline.len(), length);
    assert_eq!(timeline[0].text, "line 20");
    assert_eq!(timeline[length - 1].text, format!("line {}", length + 19));
}

#[tokio::test]
async fn strangers_are_bounded_and_declared_machines_stay() {
    let appliance = Appliance::start().await;
    let fleet = &appliance.context.fleet;
    for index in 0..600 {
        fleet
            .record(&format!("stranger-{index:03}"), note("seen"))
            .await
            .unwrap();
    }
    let snapshot = fleet.snapshot();
    assert!(snapshot.machines.contains_key("node1"));
    assert!(snapshot.machines.contains_key("stranger-599"));
    assert_eq!(snapshot.machines.len(), 501);
}

#[tokio::test]
async fn subscribers_hear_which_machine_changed() {
    let appliance = Appliance::start().await;
    let fleet = &appliance.context.fleet;
    let mut changes = fleet.subscribe();
    fleet.record("node1", note("hello")).await.unwrap();
    assert_eq!(&*changes.recv().await.unwrap(), "node1");
}

#[test]
fn secrets_are_compared_whole() {
    assert!(same_secret("abc", "abc"));
    for other in ["", "ab", "abd", "abcd"] {
        assert!(!same_secret("abc", other), "{other}");
    }
}
