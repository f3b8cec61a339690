//! Whether somebody uses an address before it is offered.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::boot::Diagnosis;
use hardway_model::lifecycle::Event;

use super::conversation::{APPLIANCE, MINUTE, NOW, OURS, Rack, bios_rom, from, is_question, said};
use crate::dhcp::packet::MessageType::{Decline, Discover, Request};
use crate::dhcp::{Input, Output, Service};
use crate::fixture::{blank, mac};

fn pool(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// A rack that has asked for nothing yet.
fn fresh() -> Rack {
    let mut rack = Rack::new(blank());
    rack.service = Service::new([], APPLIANCE);
    rack
}

fn packet(rack: &mut Rack, bytes: &[u8]) -> Vec<Output> {
    rack.input(Input::Packet {
        bytes,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        port: 67,
    })
}

fn arp(rack: &mut Rack, last: u8, number: u8) -> Vec<Output> {
    rack.input(Input::Arp {
        address: pool(last),
        mac: mac(number),
    })
}

fn probes(outputs: &[Output]) -> Vec<u8> {
    let probe = |output: &Output| match output {
        Output::Probe(address) => Some(address.octets()[3]),
        _ => None,
    };
    outputs.iter().filter_map(probe).collect()
}

#[test]
fn the_pool_is_asked_for_ahead_and_offers_do_not_wait() {
    let mut rack = fresh();
    assert_eq!(probes(&rack.input(Input::Timeout)), [100, 101, 102, 103]);
    assert_eq!(said(&arp(&mut rack, 101, 0x77)), "silence");
    rack.now += 250;
    let offers: Vec<String> = (21..24)
        .map(|number| said(&packet(&mut rack, &from(number).says(Discover))))
        .collect();
    assert_eq!(
        offers,
        [
            "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15",
            "OFFER 10.77.0.102 to 10.77.0.102 at 52:54:00:00:00:16",
            "OFFER 10.77.0.103 to 10.77.0.103 at 52:54:00:00:00:17",
        ]
    );
}

#[test]
fn an_address_that_was_not_asked_for_waits_a_quarter_of_a_second() {
    let mut rack = fresh();
    let outputs = packet(&mut rack, &from(21).says(Discover));
    assert_eq!(
        (said(&outputs).as_str(), probes(&outputs)),
        ("silence", vec![100])
    );
    // Asked again meanwhile, it is not asked for twice, nor offered twice.
    assert_eq!(packet(&mut rack, &from(21).says(Discover)), []);
    let outputs = rack.wait(249);
    assert!(
        outputs
            .iter()
            .all(|output| is_question(output) || matches!(output, Output::Probe(_)))
    );
    let offers: Vec<Output> = rack
        .wait(1)
        .into_iter()
        .filter(|output| matches!(output, Output::Send { .. }) && !is_question(output))
        .collect();
    assert_eq!(offers.len(), 1);
    assert_eq!(
        said(&offers),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15"
    );
    // It stays so for the same client.
    assert_eq!(
        said(&packet(&mut rack, &from(21).says(Discover))),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15"
    );
}

#[test]
fn an_address_that_somebody_answers_for_is_replaced() {
    let mut rack = fresh();
    packet(&mut rack, &from(21).says(Discover));
    // The client itself may answer for the address that it had.
    assert_eq!(arp(&mut rack, 100, 21), []);
    let outputs = arp(&mut rack, 100, 0x77);
    let [Output::Notice { kind, text, .. }, Output::Probe(address)] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(*kind, "address-conflict");
    assert_eq!(
        text,
        "10.77.0.100 is used by 52:54:00:00:00:77, which was not given it; it is not offered to others"
    );
    assert_eq!(*address, pool(101));
    let outputs: Vec<Output> = rack.wait(250);
    let offers: Vec<Output> = outputs
        .into_iter()
        .filter(|output| matches!(output, Output::Send { .. }) && !is_question(output))
        .collect();
    assert_eq!(
        said(&offers),
        "OFFER 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:15"
    );
    assert_eq!(
        rack.says(
            &from(21)
                .option(54, OURS)
                .option(50, [10, 77, 0, 100])
                .says(Request)
        ),
        "NAK 0.0.0.0 to 255.255.255.255:68"
    );
    // Told once; and when it has been quiet for ten minutes, the address is free again.
    assert_eq!(arp(&mut rack, 100, 0x77), []);
    rack.now += 11 * MINUTE;
    assert_eq!(
        rack.says(&from(22).option(50, [10, 77, 0, 100]).says(Discover)),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:16"
    );
}

#[test]
fn whose_address_is_used_is_told() {
    let mut rack = Rack::new(blank());
    let take = bios_rom(1).option(54, OURS).option(50, [10, 77, 0, 11]);
    rack.outputs(&take.says(Request));
    let told = |outputs: Vec<Output>| -> Vec<String> {
        let line = |output: &Output| match output {
            Output::Notice { text, .. } => text.clone(),
            Output::Observed { name, event } => match &**event {
                Event::Diagnosed {
                    diagnosis: Diagnosis::AddressConflict,
                    seen,
                } => format!("{name}: {seen}"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        outputs.iter().map(line).collect()
    };
    assert!(told(arp(&mut rack, 11, 1)).is_empty(), "its holder");
    assert_eq!(
        told(arp(&mut rack, 11, 0x77)),
        [
            "10.77.0.11 is used by 52:54:00:00:00:77, and its lease is 52:54:00:00:00:01's",
            "node1: 10.77.0.11 is used by 52:54:00:00:00:77",
        ]
    );
    assert!(
        told(arp(&mut rack, 12, 2)).is_empty(),
        "declared, without a lease"
    );
    assert_eq!(
        told(arp(&mut rack, 12, 0x77)),
        [
            "10.77.0.12 is used by 52:54:00:00:00:77, and cluster.yaml gives it to a machine that \
             this is not known to be",
            "node2: 10.77.0.12 is used by 52:54:00:00:00:77",
        ]
    );
    assert!(told(arp(&mut rack, 200, 0x77)).is_empty(), "nobody's");
    assert!(told(arp(&mut rack, 254, 0x77)).is_empty(), "the gateway's");
    assert_eq!(
        told(arp(&mut rack, 1, 0x77)),
        ["52:54:00:00:00:77 uses this appliance's own address 10.77.0.1"]
    );
    assert!(
        told(arp(&mut rack, 1, 0x77)).is_empty(),
        "once in ten minutes"
    );
    assert!(
        told(arp(&mut rack, 1, 0xfe)).is_empty(),
        "the appliance itself"
    );
}

#[test]
fn declining_rests_an_address_and_says_so() {
    let mut rack = Rack::new(blank());
    let take = bios_rom(21).option(54, OURS).option(50, [10, 77, 0, 100]);
    rack.outputs(&take.says(Request));
    let outputs = rack.outputs(&take.says(Decline));
    let [
        Output::StoreLease(rest),
        Output::Notice { kind, .. },
        Output::Observed { .. },
        Output::Observed { event, .. },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((rest.holder(), rest.address), (None, pool(100)));
    assert_eq!(*kind, "address-conflict");
    assert!(matches!(
        **event,
        Event::Diagnosed {
            diagnosis: Diagnosis::AddressConflict,
            ..
        }
    ));
}

/// The whole of a large pool is asked for, a thousand addresses a second, and again when its silence
/// does not count any more.
#[test]
fn the_scan_is_bounded_and_comes_back() {
    let mut rack = Rack::with(blank(), |cluster| {
        cluster.network.prefix = 16;
        cluster.network.pool = Some((Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 8, 255)));
    });
    rack.service = Service::new([], APPLIANCE);
    let count = |outputs: Vec<Output>| probes(&outputs).len();
    let first = count(rack.wait(1_000));
    assert!((900..=1_100).contains(&first), "{first}");
    assert_eq!(first + count(rack.wait(5_000)), 2_048);
    assert_eq!(count(rack.wait(20 * MINUTE)), 0);
    assert_eq!(count(rack.wait(11 * MINUTE)), 2_048);
    assert!(rack.now > NOW);
}
