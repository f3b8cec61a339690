//! Events in, snapshots out.

use hardway_model::identity::{Identity, MacAddress};
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
    let restarted = Fleet::start(
        Journal::open(&copy).unwrap(),
        &appliance.folder.path().join("copy.log"),
    )
    .unwrap();
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
    assert_eq!(snapshot.machines.size(), 501);
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

/// Looked up or looked for, an identity is the same machine.
#[tokio::test]
async fn a_packets_sender_is_who_the_cluster_says() {
    let cluster = r#"version: 1
cluster: {name: lab, domain: lab.internal}
network:
  address: 10.77.0.1/24
  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.199}
images:
  node:
    file: node.img.zst
    sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
profiles:
  etcd: {image: node, disk: {min_size: 1GiB}, wipe: never, config: [base.bu]}
machines:
  - {name: one, match: {mac: "52:54:00:00:00:01"}, profile: etcd, address: 10.77.0.11}
  - {name: two, match: {mac: "52:54:00:00:00:02"}, profile: etcd, address: 10.77.0.12}
  - {name: three, match: {uuid: "4c4c4544-0042-3510-8052-b7c04f564231"}, profile: etcd, address: 10.77.0.13}
"#;
    let appliance = Appliance::with(cluster).await;
    let snapshot = appliance.context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().unwrap();
    let mac = |last| MacAddress([0x52, 0x54, 0, 0, 0, last]);
    let uuid = Some("4c4c4544-0042-3510-8052-b7c04f564231".to_owned());
    let mut found = Vec::new();
    for macs in [
        vec![],
        vec![mac(1)],
        vec![mac(9)],
        vec![mac(1), mac(2)],
        vec![mac(9), mac(2)],
    ] {
        for uuid in [None, uuid.clone()] {
            let identity = Identity {
                macs: macs.clone(),
                uuid,
                ..Identity::default()
            };
            let expected = cluster.identify(&identity);
            assert_eq!(
                snapshot.find(&identity).map(|(machine, _)| machine),
                expected
            );
            found.push(expected.map_or("", |machine| &machine.name));
        }
    }
    assert_eq!(
        found,
        ["", "three", "one", "one", "", "three", "", "", "two", "two"]
    );
}
