//! A small cluster for this crate's tests.

use hardway_model::cluster::{Cluster, Machine, parse};
use hardway_model::identity::{Identity, MacAddress, Sha256};
use hardway_model::lifecycle::MachineState;
use hardway_model::receipt::{Receipt, Stage};

const FILE: &str = r#"
version: 1
cluster: {name: lab, domain: lab.internal}
network:
  address: 10.77.0.1/24
  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.103, lease: 1h}
  gateway: 10.77.0.254
  ntp: [10.77.0.1]
  dns: {upstream: []}
images:
  node: {file: node.img.zst, sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
profiles:
  etcd: {image: node}
machines:
  - {name: node1, match: {mac: "52:54:00:00:00:01"}, profile: etcd, address: 10.77.0.11}
  - {name: node2, match: {mac: "52:54:00:00:00:02"}, profile: etcd, address: 10.77.0.12}
  - {name: node3, match: {mac: "52:54:00:00:00:03"}, profile: etcd, address: 10.77.0.13}
unknown: discover
"#;

/// Three declared machines, and a pool of four addresses.
pub fn cluster() -> Cluster {
    match parse(FILE, "fixture.yaml") {
        Ok(cluster) => cluster,
        Err(problems) => panic!("{problems}"),
    }
}

/// `52:54:00:00:00:NN`.
pub fn mac(number: u8) -> MacAddress {
    MacAddress([0x52, 0x54, 0, 0, 0, number])
}

/// A state that wants its installation.
pub fn blank() -> MachineState {
    MachineState::default()
}

/// A state whose installation is done.
pub fn installed() -> MachineState {
    MachineState {
        generation: 1,
        installed: Some(Receipt {
            stage: Stage::Complete,
            cluster: "lab".into(),
            machine: "node1".into(),
            generation: 1,
            image: Sha256([1; 32]),
            config: Sha256([2; 32]),
            disk: "disk".into(),
            time: 0,
            agent: "0.1.0".into(),
            data_disks: Vec::new(),
            blank_data_disks: Vec::new(),
            appliance: None,
            confirmation: None,
            partitions: Vec::new(),
            signature: None,
        }),
        ..MachineState::default()
    }
}

/// Finds machines of `cluster`, all in the same `state`.
pub fn find<'a>(
    cluster: &'a Cluster,
    state: &'a MachineState,
) -> impl Fn(&Identity) -> Option<(&'a Machine, &'a MachineState)> {
    move |identity| Some((cluster.identify(identity)?, state))
}
