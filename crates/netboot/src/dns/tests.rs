//! Questions and what they are told.

use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::rr::{Name, RData};
use proptest::prelude::*;

use super::*;
use crate::fixture::cluster;

mod forwarding;
mod names;

const NOW: Timestamp = 1_700_000_000_000;

fn zone() -> Zone {
    Zone::of(&cluster(), [], NOW).unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn reply(query: &Message, forwards: bool) -> Reply {
    let zone = zone();
    respond(
        &query.to_vec().unwrap(),
        &zone,
        forwards,
        Transport::Udp,
        NOW,
    )
}

fn answered(query: &Message) -> Message {
    match reply(query, false) {
        Reply::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// `CODE[ aa]: answers | authorities`.
fn told(name: &str, kind: RecordType) -> String {
    let message = answered(&query(name, kind));
    let list = |records: &[Record]| {
        let texts = records.iter().map(|record| match &record.data {
            RData::SOA(_) => format!("{} SOA", record.name),
            data => format!("{} {} {data}", record.name, record.record_type()),
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    let code = message.metadata.response_code;
    let authority = if message.metadata.authoritative {
        " aa"
    } else {
        ""
    };
    format!(
        "{code:?}{authority}: {} | {}",
        list(&message.answers),
        list(&message.authorities)
    )
}

#[test]
fn the_zone() {
    use RecordType::{A, AAAA, ANY, AXFR, NS, PTR, SOA};
    let apex = "lab.internal.";
    let table = [
        (
            "node1.lab.internal.",
            A,
            "NoError aa: node1.lab.internal. A 10.77.0.11 | ",
        ),
        (
            "NODE1.Lab.Internal.",
            A,
            // As it was asked: clients may look at the case.
            "NoError aa: NODE1.Lab.Internal. A 10.77.0.11 | ",
        ),
        (
            "hardway.lab.internal.",
            A,
            "NoError aa: hardway.lab.internal. A 10.77.0.1 | ",
        ),
        (
            "node1.lab.internal.",
            ANY,
            "NoError aa: node1.lab.internal. A 10.77.0.11 | ",
        ),
        (
            "node1.lab.internal.",
            AAAA,
            "NoError aa:  | lab.internal. SOA",
        ),
        (
            "node9.lab.internal.",
            A,
            "NXDomain aa:  | lab.internal. SOA",
        ),
        (
            "x.node1.lab.internal.",
            A,
            "NXDomain aa:  | lab.internal. SOA",
        ),
        (apex, SOA, "NoError aa: lab.internal. SOA | "),
        (
            apex,
            NS,
            "NoError aa: lab.internal. NS hardway.lab.internal. | ",
        ),
        (apex, A, "NoError aa:  | lab.internal. SOA"),
        (apex, AXFR, "Refused:  | "),
        (
            "11.0.77.10.in-addr.arpa.",
            PTR,
            "NoError aa: 11.0.77.10.in-addr.arpa. PTR node1.lab.internal. | ",
        ),
        (
            "99.0.77.10.in-addr.arpa.",
            PTR,
            "NXDomain aa:  | 0.77.10.in-addr.arpa. SOA",
        ),
        (
            "0.77.10.in-addr.arpa.",
            NS,
            "NoError aa: 0.77.10.in-addr.arpa. NS hardway.lab.internal. | ",
        ),
        ("11.1.77.10.in-addr.arpa.", PTR, "Refused:  | "),
        (
            "x.0.77.10.in-addr.arpa.",
            PTR,
            "NXDomain aa:  | 0.77.10.in-addr.arpa. SOA",
        ),
        (
            "x.11.0.77.10.in-addr.arpa.",
            PTR,
            "NXDomain aa:  | 0.77.10.in-addr.arpa. SOA",
        ),
        ("77.10.in-addr.arpa.", NS, "Refused:  | "),
        ("lab.internal.example.", A, "Refused:  | "),
        ("internal.", A, "Refused:  | "),
        (".", NS, "Refused:  | "),
    ];
    for (name, kind, expected) in table {
        assert_eq!(told(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn other_names_are_forwarded_where_there_is_an_upstream() {
    let mut outside = query("example.org.", RecordType::A);
    assert!(matches!(reply(&outside, true), Reply::Forward(_)));
    outside.metadata.recursion_desired = false;
    assert!(matches!(reply(&outside, true), Reply::Answer(_)));
    assert!(matches!(
        reply(&query("node1.lab.internal.", RecordType::A), true),
        Reply::Answer(_)
    ));
}

#[test]
fn edns_is_answered_in_kind() {
    let mut question = query("node1.lab.internal.", RecordType::A);
    assert_eq!(answered(&question).edns, None);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.edns = Some(edns.clone());
    let answer = answered(&question);
    assert_eq!(answer.edns.map(|edns| edns.max_payload()), Some(1232));
    edns.set_version(1);
    question.edns = Some(edns);
    let code = answered(&question).metadata.response_code;
    assert_eq!(
        u16::from(code),
        16,
        "BADVERS, a number that it shares with BADSIG"
    );
}

#[test]
fn what_is_no_question_gets_what_it_deserves() {
    let zone = zone();
    let reply = |bytes: &[u8]| respond(bytes, &zone, true, Transport::Udp, NOW);
    assert_eq!(reply(&[]), Reply::Silence);
    assert_eq!(reply(&[0; 11]), Reply::Silence);
    let mut response = query("node1.lab.internal.", RecordType::A)
        .to_vec()
        .unwrap();
    response[2] |= 0x80;
    assert_eq!(reply(&response), Reply::Silence);
    let code = |bytes: &[u8]| match reply(bytes) {
        Reply::Answer(bytes) => Message::from_vec(&bytes).unwrap().metadata.response_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        code(&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        ResponseCode::FormErr,
        "cut off"
    );
    assert_eq!(
        code(&[0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ResponseCode::FormErr,
        "no question"
    );
    let mut update = query("node1.lab.internal.", RecordType::A);
    update.metadata.op_code = OpCode::Status;
    assert_eq!(code(&update.to_vec().unwrap()), ResponseCode::NotImp);
}

#[test]
fn what_does_not_fit_is_truncated_by_udp_only() {
    let mut crowded = cluster();
    let node1 = crowded.machines[0].clone();
    for last in 20..80 {
        let mut machine = node1.clone();
        machine.address = Some(Ipv4Addr::new(10, 77, 0, last));
        crowded.machines.push(machine);
    }
    let zone = Zone::of(&crowded, [], NOW).unwrap();
    let question = query("node1.lab.internal.", RecordType::A)
        .to_vec()
        .unwrap();
    let by = |transport| match respond(&question, &zone, false, transport, NOW) {
        Reply::Answer(bytes) => (bytes.len(), Message::from_vec(&bytes).unwrap()),
        other => panic!("{other:?}"),
    };
    let (length, udp) = by(Transport::Udp);
    assert!(length <= 512 && udp.metadata.truncation && udp.answers.is_empty());
    let (_, tcp) = by(Transport::Tcp);
    assert!(!tcp.metadata.truncation && tcp.answers.len() == 61);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, forwards: bool) {
        let zone = zone();
        respond(&bytes, &zone, forwards, Transport::Udp, NOW);
    }

    /// A good question with any bytes changed: deeper than chance would come.
    #[test]
    fn no_damage_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let zone = zone();
        let mut bytes = query("11.0.77.10.in-addr.arpa.", RecordType::PTR).to_vec().unwrap();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        respond(&bytes, &zone, false, Transport::Udp, NOW);
    }
}
