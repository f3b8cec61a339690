//! Packets that no client sends, and orders of packets that no test thought of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use dhcproto::v4;
use hardway_model::cluster::DhcpMode;
use proptest::collection::vec;
use proptest::prelude::*;

use super::conversation::{MINUTE, OURS, Rack, decode, from};
use crate::dhcp::packet::MessageType::{Decline, Discover, Release, Request};
use crate::dhcp::{Holder, Input, Output, SERVER_PORT};
use crate::fixture::{blank, mac};

#[test]
fn what_is_no_request_is_ignored() {
    let good = from(1).says(Discover);
    let with = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        bytes
    };
    let table = [
        ("a reply", with(0, 2)),
        ("InfiniBand", with(1, 32)),
        ("hlen 255", with(2, 255)),
        ("hlen 16", with(2, 16)),
        ("a group address", with(28, 0x53)),
        ("BOOTP", with(236, 0)),
        ("no message type", with(240, 54)),
        ("an offer", with(242, 2)),
        ("cut off", good[..239].to_vec()),
        ("nothing", Vec::new()),
    ];
    for (case, bytes) in table {
        let outputs = Rack::new(blank()).outputs(&bytes);
        assert!(
            matches!(outputs.as_slice(), [Output::Ignored(_)]),
            "{case}: {outputs:?}"
        );
    }
}

#[test]
fn options_are_found_wherever_they_stand() {
    // The vendor class comes in two parts, apart from each other; the requested address stands in
    // `sname` by overload.
    let mut bytes = from(1)
        .option(60, "PXECli")
        .option(93, [0, 7])
        .option(60, "ent")
        .option(52, [2])
        .says(Discover);
    bytes[44..51].copy_from_slice(&[77, 4, b'i', b'P', b'X', b'E', 255]);
    assert_eq!(
        Rack::new(blank()).says(&bytes),
        "OFFER 10.77.0.11 to 10.77.0.11 at 52:54:00:00:00:01, http://10.77.0.1/boot.ipxe"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        Rack::new(blank()).outputs(&bytes);
    }

    /// Well-formed headers with any options, hlen included: deeper than chance would come.
    #[test]
    fn no_options_panic(
        kind in 0_u8..=9,
        hlen: u8,
        addresses: [u8; 16],
        options in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..12),
    ) {
        let mut bytes = from(1).says(Discover);
        bytes.pop();
        bytes[2] = if hlen & 1 == 0 { 6 } else { hlen };
        bytes[12..28].copy_from_slice(&addresses);
        bytes[242] = kind;
        for (code, value) in options {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        }
        let mut rack = Rack::new(blank());
        for output in rack.outputs(&bytes) {
            if let Output::Send { bytes, .. } = output {
                decode(&bytes);
            }
        }
    }

    /// However clients come and go, no two of them hold one address at once, and no acknowledgement
    /// leaves before its lease is stored.
    #[test]
    fn no_address_is_held_by_two(turns in vec(turn(), 1..150)) {
        let mut rack = Rack::new(blank());
        let mut held: BTreeMap<Ipv4Addr, (Holder, u64)> = BTreeMap::new();
        for turn in turns {
            rack.now += turn.passes;
            let outputs = turn.happens(&mut rack);
            for output in outputs {
                match output {
                    Output::StoreLease(lease) => {
                        let Some(holder) = lease.holder() else {
                            held.remove(&lease.address);
                            continue;
                        };
                        if let Some((other, until)) = held.get(&lease.address) {
                            prop_assert!(
                                *other == holder || *until <= rack.now,
                                "{lease:?} is {other}'s"
                            );
                        }
                        held.insert(lease.address, (holder, lease.expires));
                    }
                    Output::Send { bytes, from: SERVER_PORT, .. } => {
                        let message = decode(&bytes);
                        let is_ack = message.opts().msg_type() == Some(v4::MessageType::Ack);
                        if is_ack && !message.yiaddr().is_unspecified() {
                            let (_, until) = held[&message.yiaddr()];
                            prop_assert!(until > rack.now, "{} is stored first", message.yiaddr());
                        }
                    }
                    _ => {}
                }
            }
            let addresses = |(holder, until): &(Holder, u64)| (*until > rack.now).then(|| holder.clone());
            let holders: Vec<Holder> = held.values().filter_map(addresses).collect();
            let different: BTreeSet<&Holder> = holders.iter().collect();
            prop_assert_eq!(holders.len(), different.len(), "one address a client");
        }
    }

    /// Whatever arrives, in whatever mode, nothing stops it, and it has a next moment to act.
    #[test]
    fn no_input_stops_it(
        mode in prop_oneof![Just(DhcpMode::Auto), Just(DhcpMode::Server), Just(DhcpMode::Proxy)],
        turns in vec((any::<Vec<u8>>(), turn(), 0_u8..6), 1..60),
    ) {
        let mut rack = Rack::with(blank(), |cluster| cluster.network.dhcp = mode);
        for (noise, turn, kind) in turns {
            rack.now += turn.passes;
            let mut bytes = from(turn.number).says(Discover);
            bytes.pop();
            bytes.extend(&noise);
            if kind & 1 == 1 {
                bytes[0] = 2;
            }
            match kind {
                0 => drop(rack.outputs(&bytes)),
                1 => drop(rack.says_at_4011([10, 77, 0, 60], &bytes)),
                2 | 3 => {
                    let (source, mac) = (Ipv4Addr::from(turn.wanted), mac(turn.number));
                    drop(rack.input(Input::ServerMessage { bytes: &bytes, source, mac }));
                }
                4 => drop(rack.wait(turn.passes % 10_000)),
                _ => drop(turn.happens(&mut rack)),
            }
            prop_assert!(rack.service.deadline().is_some());
        }
    }
}

/// Something that a client does, or that is heard of it.
#[derive(Debug, Clone)]
struct Turn {
    number: u8,
    action: u8,
    wanted: [u8; 4],
    /// Milliseconds before it.
    passes: u64,
}

fn turn() -> impl Strategy<Value = Turn> {
    let passes = prop_oneof![0..400_u64, 0..40 * MINUTE];
    (1..12_u8, 0..8_u8, 0..14_u8, passes).prop_map(|(number, action, last, passes)| Turn {
        number,
        action,
        wanted: [10, 77, 0, 95 + last],
        passes,
    })
}

impl Turn {
    fn happens(&self, rack: &mut Rack) -> Vec<Output> {
        let (client, wanted) = (from(self.number), self.wanted);
        let message = match self.action {
            0 => client.says(Discover),
            1 => client.option(54, OURS).option(50, wanted).says(Request),
            2 => client.option(50, wanted).says(Request),
            3 => client.at(wanted).says(Request),
            4 => client.at(wanted).says(Release),
            5 => client.option(54, OURS).option(50, wanted).says(Decline),
            6 => client
                .option(54, [10, 77, 0, 9])
                .option(50, wanted)
                .says(Request),
            _ => {
                let (address, mac) = (Ipv4Addr::from(wanted), mac(self.number));
                return rack.input(Input::Arp { address, mac });
            }
        };
        rack.outputs(&message)
    }
}
