//! Networks behind relays, and what relays say of them.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4;
use hardway_model::cluster::{Cluster, Subnet};

use super::conversation::{From, OURS, Rack, decode, from};
use crate::dhcp::Output;
use crate::dhcp::packet::MessageType::{Discover, Inform, Release, Request};
use crate::fixture::blank;

const RELAY: [u8; 4] = [10, 78, 0, 1];

/// Beside the provisioning network, one with a pool of two addresses and one without a pool.
fn rack() -> Rack {
    let subnet = |third: u8, pool| Subnet {
        network: Ipv4Addr::new(10, third, 0, 0),
        prefix: 24,
        pool,
        gateway: Some(Ipv4Addr::new(10, third, 0, 1)),
        lease: Duration::from_secs(600),
    };
    let pool = (Ipv4Addr::new(10, 78, 0, 100), Ipv4Addr::new(10, 78, 0, 101));
    Rack::with(blank(), |cluster: &mut Cluster| {
        cluster.network.subnets = vec![subnet(78, Some(pool)), subnet(79, None)];
        cluster.machines[1].address = Some(Ipv4Addr::new(10, 78, 0, 12));
    })
}

#[test]
fn the_network_is_the_one_that_the_relay_is_on() {
    let table: [(&str, From, &str); 8] = [
        (
            "by giaddr",
            from(9).through(RELAY),
            "OFFER 10.78.0.100 to 10.78.0.1:67",
        ),
        (
            "a declared machine where its address is",
            from(2).through(RELAY),
            "OFFER 10.78.0.12 to 10.78.0.1:67",
        ),
        (
            "a declared machine elsewhere",
            from(1).through(RELAY),
            "OFFER 10.78.0.100 to 10.78.0.1:67",
        ),
        (
            "by link selection (RFC 3527)",
            from(9)
                .through([10, 77, 0, 2])
                .option(82, [5, 4, 10, 78, 0, 0]),
            "OFFER 10.78.0.100 to 10.77.0.2:67",
        ),
        (
            "link selection counts for relays only",
            from(9).option(82, [5, 4, 10, 78, 0, 0]),
            "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:09",
        ),
        (
            "by subnet selection (RFC 3011)",
            from(9).through([10, 77, 0, 2]).option(118, [10, 78, 0, 0]),
            "OFFER 10.78.0.100 to 10.77.0.2:67",
        ),
        ("no pool there", from(9).through([10, 79, 0, 1]), "silence"),
        ("not served", from(9).through([10, 80, 0, 1]), "silence"),
    ];
    for (case, client, expected) in table {
        assert_eq!(rack().says(&client.says(Discover)), expected, "{case}");
    }
}

#[test]
fn options_are_the_networks_own() {
    let client = from(9).through(RELAY).option(118, [10, 78, 0, 0]);
    let outputs = rack().outputs(&client.says(Discover));
    let Some(Output::Send { bytes, .. }) = outputs.first() else {
        panic!("{outputs:?}");
    };
    let message = decode(bytes);
    let option = |code| format!("{:?}", message.opts().get(code).unwrap());
    assert_eq!(option(v4::OptionCode::Router), "Router([10.78.0.1])");
    assert_eq!(
        option(v4::OptionCode::AddressLeaseTime),
        "AddressLeaseTime(600)"
    );
    assert_eq!(
        option(v4::OptionCode::BroadcastAddr),
        "BroadcastAddr(10.78.0.255)"
    );
    assert_eq!(
        option(v4::OptionCode::ServerIdentifier),
        "ServerIdentifier(10.77.0.1)"
    );
    let given_back = [118, 4, 10, 78, 0, 0];
    assert!(bytes.windows(6).any(|window| window == given_back));
}

/// A renewal comes without the relay, from the client's address.
#[test]
fn a_lease_in_another_network_is_taken_renewed_and_given_back() {
    let mut rack = rack();
    let at = [10, 78, 0, 100];
    let take = from(9).through(RELAY).option(54, OURS).option(50, at);
    assert_eq!(
        rack.says(&take.says(Request)),
        "ACK 10.78.0.100 to 10.78.0.1:67"
    );
    assert_eq!(
        rack.says(&from(9).at(at).says(Request)),
        "ACK 10.78.0.100 to 10.78.0.100:68"
    );
    assert_eq!(
        rack.says(&from(9).at(at).says(Inform)),
        "ACK 0.0.0.0 to 10.78.0.100:68"
    );
    // Moved to the provisioning network, it is told that its address does not belong there.
    assert_eq!(
        rack.says(&from(9).option(50, at).says(Request)),
        "NAK 0.0.0.0 to 255.255.255.255:68"
    );
    let outputs = rack.outputs(&from(9).at(at).says(Release));
    assert!(
        matches!(outputs.as_slice(), [Output::StoreLease(lease)] if lease.expires == rack.now),
        "{outputs:?}"
    );
}

/// RFC 5107: the relay is the server that its clients know.
#[test]
fn a_relay_may_stand_in_as_the_server() {
    let mut rack = rack();
    let client = || from(9).through(RELAY).option(82, [11, 4, 10, 78, 0, 1]);
    let outputs = rack.outputs(&client().says(Discover));
    let Some(Output::Send { bytes, .. }) = outputs.first() else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        decode(bytes).opts().get(v4::OptionCode::ServerIdentifier),
        Some(&v4::DhcpOption::ServerIdentifier(Ipv4Addr::from(RELAY)))
    );
    let take = client().option(54, RELAY).option(50, [10, 78, 0, 100]);
    assert_eq!(
        rack.says(&take.says(Request)),
        "ACK 10.78.0.100 to 10.78.0.1:67"
    );
}

/// One client, one address in a network: another one ends the first, before anything leaves.
#[test]
fn another_address_in_the_network_ends_the_former() {
    let mut rack = rack();
    let take = |address: [u8; 4]| from(9).option(54, OURS).option(50, address).says(Request);
    rack.outputs(&take([10, 77, 0, 100]));
    let outputs = rack.outputs(&take([10, 77, 0, 101]));
    let [
        Output::StoreLease(former),
        Output::StoreLease(lease),
        Output::Send { .. },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        (former.address, former.expires),
        (Ipv4Addr::new(10, 77, 0, 100), rack.now)
    );
    assert_eq!(lease.address, Ipv4Addr::new(10, 77, 0, 101));
}
