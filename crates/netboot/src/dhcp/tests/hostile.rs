//! Packets that no client sends, and orders of packets that no test thought of.

use std::net::Ipv4Addr;

use hardway_model::identity::MacAddress;
use proptest::prelude::*;

use super::conversation::{MINUTE, OURS, Rack, decode, from};
use crate::dhcp::Output;
use crate::dhcp::packet::MessageType::{Discover, Release, Request};
use crate::fixture::blank;

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
        "OFFER 10.77.0.11 to 255.255.255.255:68, http://10.77.0.1/boot.ipxe"
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
        options in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
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

    /// However clients come and go, no two of them hold one address at once.
    #[test]
    fn no_address_is_given_twice(turns in proptest::collection::vec((1_u8..12, 0_u8..4, 0_u64..40), 1..120)) {
        let mut rack = Rack::new(blank());
        let mut held: std::collections::BTreeMap<Ipv4Addr, (MacAddress, u64)> = Default::default();
        for (number, action, minutes) in turns {
            rack.now += minutes * MINUTE;
            let wanted = [10, 77, 0, 99 + number];
            let message = match action {
                0 => from(number).says(Discover),
                1 => from(number).option(54, OURS).option(50, wanted).says(Request),
                2 => from(number).at(wanted).says(Request),
                _ => from(number).at(wanted).says(Release),
            };
            for output in rack.outputs(&message) {
                let Output::StoreLease(lease) = output else { continue };
                let Some(holder) = lease.mac else { continue };
                if let Some((other, until)) = held.get(&lease.address) {
                    prop_assert!(*other == holder || *until <= rack.now, "{lease:?} is {other}'s");
                }
                held.insert(lease.address, (holder, lease.expires));
            }
        }
    }
}
