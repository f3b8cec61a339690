//! Names by leases, and reverse zones of several networks.

use hardway_model::cluster::{Cluster, Subnet};
use std::time::Duration;

use super::*;
use crate::fixture::mac;

fn held(last: u8, number: u8, host_name: Option<&'static str>) -> Held<'static> {
    Held {
        address: Ipv4Addr::new(10, 77, 0, last),
        mac: Some(mac(number)),
        machine: None,
        host_name,
        until: NOW + 30_000,
    }
}

/// What A or PTR of a name is at a moment: addresses or names, or the response's code.
fn asked(cluster: &Cluster, held: &[Held<'_>], question: &str, now: Timestamp) -> String {
    let zone = Zone::of(cluster, held.iter().copied(), NOW).unwrap();
    let kind = match question.ends_with("arpa.") {
        true => RecordType::PTR,
        false => RecordType::A,
    };
    let bytes = query(question, kind).to_vec().unwrap();
    let Reply::Answer(bytes) = respond(&bytes, &zone, false, Transport::Udp, now) else {
        return "no answer".to_owned();
    };
    let message = Message::from_vec(&bytes).unwrap();
    let data: Vec<_> = message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    match data.is_empty() {
        true => format!("{:?}", message.metadata.response_code),
        false => data.join(" "),
    }
}

#[test]
fn clients_have_the_names_that_they_give_themselves() {
    let mut cluster = cluster();
    cluster.machines[2].address = None;
    let mut node3 = held(103, 3, Some("something"));
    node3.machine = Some("node3");
    let leases = [
        held(101, 9, Some("web")),
        held(100, 8, Some("WEB.example.org")),
        held(102, 7, Some("node1")),
        node3,
        held(11, 6, Some("thief")),
        held(104, 5, Some("hardway")),
        held(105, 4, Some("not a name")),
    ];
    let table = [
        ("web.lab.internal.", "10.77.0.100"),
        ("52-54-00-00-00-08.lab.internal.", "10.77.0.100"),
        ("52-54-00-00-00-09.lab.internal.", "10.77.0.101"),
        ("100.0.77.10.in-addr.arpa.", "web.lab.internal."),
        (
            "101.0.77.10.in-addr.arpa.",
            "52-54-00-00-00-09.lab.internal.",
        ),
        ("node1.lab.internal.", "10.77.0.11"),
        (
            "102.0.77.10.in-addr.arpa.",
            "52-54-00-00-00-07.lab.internal.",
        ),
        ("node3.lab.internal.", "10.77.0.103"),
        ("103.0.77.10.in-addr.arpa.", "node3.lab.internal."),
        ("something.lab.internal.", "NXDomain"),
        ("thief.lab.internal.", "NXDomain"),
        ("11.0.77.10.in-addr.arpa.", "node1.lab.internal."),
        ("hardway.lab.internal.", "10.77.0.1"),
        (
            "105.0.77.10.in-addr.arpa.",
            "52-54-00-00-00-04.lab.internal.",
        ),
    ];
    for (question, expected) in table {
        assert_eq!(
            asked(&cluster, &leases, question, NOW),
            expected,
            "{question}"
        );
    }
}

#[test]
fn a_name_ends_with_its_lease() {
    let lease = [held(100, 8, Some("web"))];
    let at = |now| {
        let question = "web.lab.internal.";
        asked(&cluster(), &lease, question, now)
    };
    assert_eq!(at(NOW + 29_999), "10.77.0.100");
    assert_eq!(at(NOW + 30_000), "NXDomain");
    let zone = Zone::of(&cluster(), lease, NOW).unwrap();
    let name = Name::from_str("web.lab.internal.").unwrap();
    let found = zone.look_up(&name, NOW + 10_000).unwrap();
    assert_eq!(found.records[0].ttl, 20, "no longer than the lease");
}

#[test]
fn a_declared_machine_without_an_address_keeps_its_name() {
    let mut cluster = cluster();
    cluster.machines[2].address = None;
    let thief = [held(100, 8, Some("node3"))];
    let answer = asked(&cluster, &thief, "node3.lab.internal.", NOW);
    assert_eq!(answer, "NoError", "it exists, and has no address");
}

#[test]
fn every_network_has_its_reverse_zones() {
    let mut cluster = cluster();
    let subnet = |network: [u8; 4], prefix| Subnet {
        network: network.into(),
        prefix,
        pool: None,
        gateway: None,
        lease: Duration::from_secs(3600),
    };
    cluster.network.subnets = vec![
        subnet([172, 16, 0, 0], 12),
        subnet([10, 78, 4, 0], 22),
        subnet([192, 168, 9, 64], 26),
    ];
    let far = |octets: [u8; 4], number| Held {
        address: octets.into(),
        ..held(0, number, None)
    };
    let leases = [
        far([172, 20, 1, 2], 8),
        far([10, 78, 7, 9], 9),
        far([192, 168, 9, 66], 7),
        far([192, 168, 9, 130], 6),
    ];
    let table = [
        (
            "2.1.20.172.in-addr.arpa.",
            "52-54-00-00-00-08.lab.internal.",
        ),
        ("1.20.172.in-addr.arpa.", "NoError"),
        ("20.172.in-addr.arpa.", "NoError"),
        ("2.20.172.in-addr.arpa.", "NXDomain"),
        ("32.172.in-addr.arpa.", "Refused"),
        ("172.in-addr.arpa.", "Refused"),
        ("9.7.78.10.in-addr.arpa.", "52-54-00-00-00-09.lab.internal."),
        ("9.6.78.10.in-addr.arpa.", "NXDomain"),
        ("9.8.78.10.in-addr.arpa.", "Refused"),
        (
            "66.9.168.192.in-addr.arpa.",
            "52-54-00-00-00-07.lab.internal.",
        ),
        ("67.9.168.192.in-addr.arpa.", "NXDomain"),
        ("130.9.168.192.in-addr.arpa.", "Refused"),
        ("9.168.192.in-addr.arpa.", "NoError"),
        ("011.0.77.10.in-addr.arpa.", "NXDomain"),
    ];
    for (question, expected) in table {
        assert_eq!(
            asked(&cluster, &leases, question, NOW),
            expected,
            "{question}"
        );
    }
}
