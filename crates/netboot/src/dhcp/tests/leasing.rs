//! Who may have which address.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4;
use hardway_model::cluster::Cluster;
use hardway_model::lifecycle::Event;

use super::conversation::{
    MINUTE, NOW, OURS, Rack, bios_rom, decode, describe, from, ipxe_bios, said,
};
use crate::dhcp::packet::MessageType::{Decline, Discover, Inform, Release, Request};
use crate::dhcp::{ClientId, Input, Lease, Output};
use crate::fixture::{blank, mac};

#[test]
fn a_lease_is_stored_before_it_is_acknowledged() {
    let mut rack = Rack::new(blank());
    rack.outputs(&ipxe_bios(1).says(Discover));
    let request = ipxe_bios(1)
        .option(54, OURS)
        .option(50, [10, 77, 0, 11])
        .says(Request);
    let outputs = rack.outputs(&request);
    let [
        Output::StoreLease(lease),
        Output::Send {
            bytes, destination, ..
        },
        Output::Observed { .. },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        *lease,
        Lease {
            address: Ipv4Addr::new(10, 77, 0, 11),
            mac: Some(mac(1)),
            client_id: Some(ClientId(vec![1, 0x52, 0x54, 0, 0, 0, 1])),
            host_name: None,
            machine: Some("node1".into()),
            expires: NOW + 60 * MINUTE,
        }
    );
    assert_eq!(
        describe(bytes, *destination),
        "ACK 10.77.0.11 to 10.77.0.11 at 52:54:00:00:00:01, http://10.77.0.1/boot.ipxe"
    );
}

/// RFC 2131 table 4: selecting, init-reboot, renewing and rebinding.
#[test]
fn requests_are_judged_by_what_the_client_may_have() {
    let ack = |address: &str, to: &str| format!("ACK {address} to {to}");
    let nak = "NAK 0.0.0.0 to 255.255.255.255:68".to_owned();
    let table = [
        (
            "selecting",
            from(1).option(54, OURS).option(50, [10, 77, 0, 11]),
            ack("10.77.0.11", "10.77.0.11 at 52:54:00:00:00:01"),
        ),
        (
            "selecting what was not offered",
            from(1).option(54, OURS).option(50, [10, 77, 0, 12]),
            nak.clone(),
        ),
        (
            "another server",
            from(1)
                .option(54, [10, 77, 0, 9])
                .option(50, [10, 77, 0, 11]),
            "silence".into(),
        ),
        (
            "reboot, own address",
            from(1).option(50, [10, 77, 0, 11]),
            ack("10.77.0.11", "10.77.0.11 at 52:54:00:00:00:01"),
        ),
        (
            "reboot, another network",
            from(1).option(50, [192, 168, 1, 2]),
            nak.clone(),
        ),
        (
            "reboot, stranger, no record",
            from(9).option(50, [10, 77, 0, 101]),
            "silence".into(),
        ),
        (
            "reboot, stranger, reserved address",
            from(9).option(50, [10, 77, 0, 11]),
            nak.clone(),
        ),
        (
            "renewing",
            from(1).at([10, 77, 0, 11]),
            ack("10.77.0.11", "10.77.0.11:68"),
        ),
        (
            "renewing what is not its own",
            from(1).at([10, 77, 0, 100]),
            nak.clone(),
        ),
        (
            "renewing, stranger, free in the pool",
            from(9).at([10, 77, 0, 101]),
            ack("10.77.0.101", "10.77.0.101:68"),
        ),
        (
            "renewing, stranger, outside the pool",
            from(9).at([10, 77, 0, 200]),
            nak.clone(),
        ),
        (
            "renewing the appliance's address",
            from(9).at(OURS),
            nak.clone(),
        ),
        ("nothing wanted", from(1), "silence".into()),
    ];
    for (case, message, expected) in table {
        assert_eq!(
            Rack::new(blank()).says(&message.says(Request)),
            expected,
            "{case}"
        );
    }
}

#[test]
fn strangers_share_the_pool_and_come_back_to_their_address() {
    let mut rack = Rack::new(blank());
    let mut offer = |number| rack.says(&from(number).says(Discover));
    assert_eq!(
        offer(21),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15"
    );
    assert_eq!(
        offer(22),
        "OFFER 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:16"
    );
    assert_eq!(
        offer(21),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15"
    );
    let request = from(22)
        .option(54, OURS)
        .option(50, [10, 77, 0, 101])
        .says(Request);
    assert_eq!(
        rack.says(&request),
        "ACK 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:16"
    );
    // .102 was asked for by ARP before .100 came back.
    rack.now += 2 * MINUTE;
    assert_eq!(
        rack.says(&from(23).says(Discover)),
        "OFFER 10.77.0.102 to 10.77.0.102 at 52:54:00:00:00:17"
    );
    // Long after the lease has ended, its holder is preferred.
    rack.now += 600 * MINUTE;
    assert_eq!(
        rack.says(&from(22).says(Discover)),
        "OFFER 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:16"
    );
}

#[test]
fn a_full_pool_is_named_and_recovers() {
    let mut rack = Rack::new(blank());
    for number in 21..=24 {
        let last = 100 + number - 21;
        let request = from(number).option(54, OURS).option(50, [10, 77, 0, last]);
        rack.outputs(&request.says(Request));
    }
    let asks = |rack: &mut Rack| -> Vec<String> {
        let outputs = rack.outputs(&bios_rom(25).says(Discover));
        let told = outputs.iter().map(|output| match output {
            Output::Observed { name, event } => match &**event {
                Event::Dhcp { summary, .. } => format!("{name}: {summary}"),
                Event::Diagnosed { diagnosis, .. } => format!("{name}: {}", diagnosis.name()),
                other => panic!("{other:?}"),
            },
            Output::Notice { kind, .. } => (*kind).to_owned(),
            other => panic!("{other:?}"),
        });
        told.collect()
    };
    let always = [
        "52-54-00-00-00-19: DISCOVER from PXEClient:Arch:00000:UNDI:002001 → no offer: all 4 addresses \
         of the pool 10.77.0.100-10.77.0.103 are taken",
        "52-54-00-00-00-19: pool-exhausted",
    ];
    let [first, second] = always;
    assert_eq!(asks(&mut rack), [first, second, "pool-exhausted"]);
    // The network is told of it once in ten minutes.
    assert_eq!(asks(&mut rack), always);
    rack.now += 61 * MINUTE;
    assert_eq!(
        rack.says(&from(25).says(Discover)),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:19"
    );
}

#[test]
fn leases_survive_a_restart() {
    let lease = Lease::new(Ipv4Addr::new(10, 77, 0, 100), Some(mac(21)), NOW + MINUTE);
    let mut rack = Rack::new(blank()).with_leases([lease]);
    assert_eq!(
        rack.says(&from(22).says(Discover)),
        "OFFER 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:16"
    );
    assert_eq!(
        rack.says(&from(21).option(50, [10, 77, 0, 100]).says(Request)),
        "ACK 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:15"
    );
}

#[test]
fn released_and_declined_addresses() {
    let mut rack = Rack::new(blank());
    let take = |number| from(number).option(54, OURS).option(50, [10, 77, 0, 100]);
    rack.outputs(&take(21).says(Request));
    rack.outputs(&from(22).at([10, 77, 0, 100]).says(Release));
    assert_eq!(
        rack.says(&take(22).says(Request)),
        "NAK 0.0.0.0 to 255.255.255.255:68",
        "not its own"
    );
    rack.outputs(&from(21).at([10, 77, 0, 100]).option(54, OURS).says(Release));
    assert_eq!(
        rack.says(&take(22).says(Request)),
        "ACK 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:16"
    );

    rack.outputs(&take(22).says(Decline));
    assert_eq!(
        rack.says(&from(22).says(Discover)),
        "OFFER 10.77.0.101 to 10.77.0.101 at 52:54:00:00:00:16"
    );
    rack.now += 11 * MINUTE;
    assert_eq!(
        rack.says(&from(23).option(50, [10, 77, 0, 100]).says(Discover)),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:17"
    );
}

/// A NIC that answers is not robbed of the machine's address; one that is gone does not hold it.
#[test]
fn two_nics_of_one_machine() {
    let both = |cluster: &mut Cluster| cluster.machines[0].matches.macs = vec![mac(1), mac(9)];
    let first = from(1).option(50, [10, 77, 0, 11]).says(Request);
    let mut rack = Rack::with(blank(), both);
    rack.outputs(&first);
    let own = "OFFER 10.77.0.11 to 10.77.0.11 at 52:54:00:00:00:09";
    assert_eq!(rack.says(&from(9).says(Discover)), own);
    let take = from(9).option(54, OURS).option(50, [10, 77, 0, 11]);
    assert_eq!(
        rack.says(&take.says(Request)),
        "ACK 10.77.0.11 to 10.77.0.11 at 52:54:00:00:00:09"
    );

    let mut rack = Rack::with(blank(), both);
    rack.outputs(&first);
    let packet = from(9).says(Discover);
    let asked = rack.input(Input::Packet {
        bytes: &packet,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        port: 67,
    });
    let address = Ipv4Addr::new(10, 77, 0, 11);
    assert_eq!(asked, [Output::Probe(address)]);
    let other = rack.input(Input::Arp {
        address,
        mac: mac(1),
    });
    assert_eq!(
        said(&other),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:09"
    );
    assert_eq!(
        rack.says(&take.says(Request)),
        "NAK 0.0.0.0 to 255.255.255.255:68",
        "it holds the address that it answers for"
    );
}

#[test]
fn inform_is_answered_without_a_lease() {
    let outputs = Rack::new(blank()).outputs(&from(1).at([10, 77, 0, 50]).says(Inform));
    let [
        Output::Send {
            bytes, destination, ..
        },
        Output::Observed { .. },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        describe(bytes, *destination),
        "ACK 0.0.0.0 to 10.77.0.50:68"
    );
    assert!(
        !decode(bytes)
            .opts()
            .contains(v4::OptionCode::AddressLeaseTime)
    );
}

#[test]
fn inform_is_not_answered_to_other_networks() {
    for address in [[8, 8, 8, 8], [255, 255, 255, 255], [224, 0, 0, 1]] {
        let outputs = Rack::new(blank()).outputs(&from(1).at(address).says(Inform));
        assert!(
            matches!(outputs.as_slice(), [Output::Ignored(_)]),
            "{outputs:?}"
        );
    }
}

#[test]
fn relays_get_the_reply_and_their_information_back() {
    let information = [1, 4, b'p', b'o', b'r', b't', 99, 1, 7];
    let message = from(1)
        .through([10, 77, 0, 2])
        .option(82, information)
        .option(55, [1]);
    let outputs = Rack::new(blank()).outputs(&message.says(Discover));
    let [
        Output::Send {
            bytes, destination, ..
        },
        _,
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        describe(bytes, *destination),
        "OFFER 10.77.0.11 to 10.77.0.2:67"
    );
    let mut last = vec![82, 9];
    last.extend(information);
    last.push(255);
    assert!(
        bytes.windows(last.len()).any(|window| window == last),
        "last, and unchanged"
    );

    let refused = from(1).through([10, 77, 0, 2]).option(50, [10, 77, 0, 12]);
    let outputs = Rack::new(blank()).outputs(&refused.says(Request));
    let [
        Output::Send {
            bytes, destination, ..
        },
        _,
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(describe(bytes, *destination), "NAK 0.0.0.0 to 10.77.0.2:67");
    assert!(decode(bytes).flags().broadcast());

    let foreign = from(1).through([10, 88, 0, 2]);
    assert_eq!(Rack::new(blank()).says(&foreign.says(Discover)), "silence");
}
