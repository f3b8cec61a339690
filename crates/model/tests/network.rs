//! A machine's network: from cluster.yaml to the files that its installed system reads, and to what
//! its agent is told. The goldens are whole files, one after another.
#![cfg(feature = "cluster")]

use hardway_model::cluster::{self, Cluster};
use hardway_model::network::{AgentLink, BondMode, NetworkFile, keyfiles, networkd};
use proptest::prelude::*;

/// A cluster of one machine with three ports whose profile has `network`.
#[track_caller]
fn cluster(network: &str, machine: &str) -> Cluster {
    let text = format!(
        r#"
version: 1
cluster: {{name: lab}}
network: {{address: 10.77.0.1/24, gateway: 10.77.0.254}}
images:
  node: {{file: node.img, sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}
profiles:
  worker:
    image: node
    network: {network}
machines:
  - name: node1
    match: {{mac: ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"]}}
    profile: worker
    address: 10.77.0.11
    {machine}
"#
    );
    match cluster::parse(&text, "cluster.yaml") {
        Ok(cluster) => cluster,
        Err(problems) => panic!("{problems}"),
    }
}

fn golden(network: &str, machine: &str) -> String {
    let cluster = cluster(network, machine);
    let network = cluster.machine_network(&cluster.machines[0]).unwrap();
    let show = |file: NetworkFile| format!("=== {} {:o}\n{}", file.path, file.mode, file.text);
    let files = networkd::files(&network).into_iter();
    files.chain(keyfiles::files(&network)).map(show).collect()
}

#[test]
fn one_port_with_a_static_address() {
    insta::assert_snapshot!(golden("{address: static, mtu: 9000}", ""));
}

#[test]
fn an_active_backup_bond_of_all_ports_asks_by_dhcp() {
    insta::assert_snapshot!(golden("{bonds: {bond0: {mode: active-backup}}}", ""));
}

#[test]
fn everything_at_once() {
    let network = "
      mtu: 9000
      bonds:
        bond0: {mode: lacp, ports: [port1, port2]}
      vlans:
        rack: {id: 10, link: bond0, mtu: 1500}
        storage: {id: 20, link: bond0, subnet: 10.20.0.0/16}
        backup: {id: 20, link: port3, address: dhcp}
      bridges:
        br0: {ports: [rack], address: static}";
    insta::assert_snapshot!(golden(network, "addresses: {storage: 10.20.7.11}"));
}

/// The MTUs of links, by name.
fn mtus(network: &str) -> Vec<(String, Option<u16>)> {
    let cluster = cluster(network, "");
    let network = cluster.machine_network(&cluster.machines[0]).unwrap();
    let links = network.links.into_iter();
    links.map(|link| (link.name, link.mtu)).collect()
}

#[test]
fn mtus_come_from_the_link_from_what_is_below_it_or_from_the_default() {
    let check = |network: &str, expected: &[(&str, Option<u16>)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, m)| ((*n).to_owned(), *m))
            .collect();
        assert_eq!(mtus(network), expected, "{network}");
    };
    check(
        "{vlans: {a: {id: 1, link: port1}}}",
        &[("port1", None), ("a", None)],
    );
    check(
        "{mtu: 9000, bonds: {b: {mode: lacp, ports: [port2], mtu: 4000}}, vlans: {a: {id: 1, link: b}}}",
        &[
            ("port2", Some(4000)),
            ("port1", Some(9000)),
            ("b", Some(4000)),
            ("a", Some(4000)),
        ],
    );
    check(
        "{mtu: 9000, ports: {port1: {mtu: 2000}}, bridges: {b: {ports: [port1]}}}",
        &[("port1", Some(2000)), ("b", Some(2000))],
    );
}

/// What the agent on the machine is told.
fn agent(network: &str) -> Option<String> {
    let cluster = cluster(network, "");
    let link = cluster.agent_link(&cluster.machines[0]);
    link.map(|link| link.to_string())
}

#[test]
fn the_agent_is_told_of_what_was_chosen_alone() {
    let bond = "bonds: {b: {mode: lacp, ports: [port1, port3]}}";
    let vlan = "vlans: {a: {id: 20, link: b}, c: {id: 30, link: port2}}";
    let check = |agent_is: &str, expected: Option<&str>| {
        let network = format!("{{{bond}, {vlan}{agent_is}}}");
        assert_eq!(agent(&network).as_deref(), expected, "{agent_is}");
    };
    let ports = "lacp,52:54:00:00:00:01,52:54:00:00:00:03";
    check("", None);
    check(", agent: port", None);
    check(", agent: b", Some(ports));
    check(", agent: a", Some(&format!("{ports},vlan20")));
    check(", agent: c", Some("vlan30"));
    let all = "{bonds: {b: {mode: active-backup}}, agent: b}";
    let ports = "active-backup,52:54:00:00:00:01,52:54:00:00:00:02,52:54:00:00:00:03";
    assert_eq!(agent(all).as_deref(), Some(ports));
}

proptest! {
    #[test]
    fn what_the_agent_is_told_is_read_as_it_was_meant(
        bond in proptest::option::of(prop_oneof![Just(BondMode::Lacp), Just(BondMode::ActiveBackup)]),
        ports in proptest::collection::vec(any::<[u8; 6]>(), 1..4),
        vlan in proptest::option::of(1_u16..=4094),
    ) {
        let ports = ports.into_iter().map(hardway_model::identity::MacAddress).collect();
        let link = AgentLink { bond, ports, vlan };
        let text = link.to_string();
        // It stands in scripts of iPXE and GRUB.
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":,-".contains(&byte)));
        prop_assert_eq!(text.parse(), Ok(link));
    }
}

#[test]
fn a_word_that_means_nothing_is_named() {
    for (text, word) in [
        ("vlan20,team", "team"),
        ("", ""),
        ("vlan,lacp", "vlan"),
        ("vlan70000", "vlan70000"),
    ] {
        let error = text.parse::<AgentLink>().unwrap_err();
        assert_eq!(error.0, word, "{text}");
    }
}
