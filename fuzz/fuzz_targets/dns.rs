//! Any bytes as a question, and any as an upstream server's answer to it: no panic; nothing but a
//! question is answered, and with its own id; a datagram is no longer than the client takes; what is
//! said of the cluster can be read; and only the answer to the question is taken for one.

#![no_main]

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use hardway_model::cluster::{Cluster, parse};
use hardway_model::identity::MacAddress;
use hardway_netboot::dns::cache::{Cache, Known, Limits};
use hardway_netboot::dns::forward::{Entropy, Question, Verdict};
use hardway_netboot::dns::{Held, Reply, Transport, Zone, respond};
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

const FILE: &str = include_str!("../cluster.yaml");
const NOW: u64 = 1_800_000_000_000;
const HEADER: usize = 12;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| match parse(FILE, "cluster.yaml") {
    Ok(cluster) => cluster,
    Err(problems) => panic!("{problems}"),
});
static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(Some("printer")));

// The first byte says how long the question is; what follows it is what comes back from upstream. A
// zero makes the whole input a host name that a client gives itself.
fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else {
        return;
    };
    if *length == 0 {
        zone(std::str::from_utf8(rest).ok());
        return;
    }
    let (query, answer) = rest.split_at(usize::from(*length).min(rest.len()));
    for transport in [Transport::Udp, Transport::Tcp] {
        match respond(query, &ZONE, true, transport, NOW) {
            Reply::Silence => {}
            Reply::Answer(bytes) => is_reply(query, &bytes, transport, true),
            Reply::Forward(question) => go_upstream(query, &question, answer, transport),
        }
    }
});

fn zone(host_name: Option<&str>) -> Zone {
    let held = Held {
        address: Ipv4Addr::new(10, 77, 0, 100),
        mac: Some(MacAddress([2, 0, 0, 0, 0, 9])),
        machine: None,
        host_name,
        until: NOW + 1,
    };
    Zone::of(&CLUSTER, [held], NOW).expect("the cluster's own names are good")
}

fn is_reply(query: &[u8], reply: &[u8], transport: Transport, is_ours: bool) {
    assert!(query.len() >= HEADER && query[2] & 0x80 == 0, "no question");
    assert_eq!(reply[..2], query[..2], "another id");
    assert_eq!(reply[2] & 0x80, 0x80, "no response");
    assert!(transport == Transport::Tcp || reply.len() <= 1232);
    if is_ours {
        Message::from_vec(reply).expect("an answer that can be read");
    }
}

fn go_upstream(query: &[u8], question: &Question, rest: &[u8], transport: Transport) {
    let asked = question.ask(Entropy {
        id: 0x1234,
        case: [0x5a; 32],
    });
    // As it is, it is an answer only by a miracle; behind the right beginning it is one more often.
    let mut likely = asked.bytes.clone();
    let counts = rest.len().min(8);
    likely[2..2 + counts].copy_from_slice(&rest[..counts]);
    likely.truncate(asked.bytes.len() - 11);
    likely.extend_from_slice(&rest[counts..]);
    let mut cache = Cache::new(Limits {
        entries: 2,
        bytes: 4096,
    });
    for message in [rest, &likely] {
        for verdict in [asked.judge(message), asked.judge_tcp(message)] {
            let Verdict::Answer(answer) = verdict else {
                continue;
            };
            let end = asked.bytes.len() - 11;
            assert!(message[HEADER..end].eq_ignore_ascii_case(&asked.bytes[HEADER..end]));
            cache.insert(question.key(), Some(Arc::new(answer.clone())), NOW);
            if let Some(Known::Answer(_, age)) = cache.get(&question.key(), NOW + 1000) {
                assert!(age < answer.lifetime());
            }
            is_reply(query, &answer.message_for(question, 7), transport, false);
        }
    }
    is_reply(query, &question.failure(), transport, true);
}
