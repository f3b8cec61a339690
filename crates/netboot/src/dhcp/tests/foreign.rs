//! Other servers: the search for them, and what is told of them.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::cluster::DhcpMode;
use hardway_model::identity::MacAddress;
use hardway_model::lifecycle::Event;

use super::conversation::{
    APPLIANCE, MINUTE, NOW, OURS, Rack, decode, edk2_pxe, from, is_question, said,
};
use crate::dhcp::packet::MessageType::{self, Ack, Discover, Offer, Request};
use crate::dhcp::{Destination, Input, Output, Role};
use crate::fixture::{blank, mac};

const OTHER: [u8; 4] = [10, 77, 0, 9];
const OTHER_MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 0x99]);

fn rack(mode: DhcpMode) -> Rack {
    let mut rack = Rack::with(blank(), |cluster| cluster.network.dhcp = mode);
    rack.service = crate::dhcp::Service::new([], APPLIANCE);
    rack
}

/// What another server says to a client.
fn server_says(kind: MessageType, your_address: [u8; 4], client: MacAddress) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(your_address);
    bytes.resize(28, 0);
    bytes.extend(client.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind as u8, 54, 4]);
    bytes.extend(OTHER);
    bytes.push(255);
    bytes
}

fn hears(rack: &mut Rack, bytes: &[u8]) -> Vec<String> {
    let outputs = rack.input(Input::ServerMessage {
        bytes,
        source: Ipv4Addr::from(OTHER),
        mac: OTHER_MAC,
    });
    told(&outputs)
}

/// Notices and diagnoses, a line each.
fn told(outputs: &[Output]) -> Vec<String> {
    let line = |output: &Output| match output {
        Output::Notice { kind, text, .. } => Some(format!("{kind}: {text}")),
        Output::Observed { name, event } => match &**event {
            Event::Diagnosed { diagnosis, seen } => {
                Some(format!("{name} {}: {seen}", diagnosis.name()))
            }
            _ => None,
        },
        _ => None,
    };
    outputs.iter().filter_map(line).collect()
}

#[test]
fn auto_is_the_server_where_nobody_answers() {
    let mut rack = rack(DhcpMode::Auto);
    let packet = edk2_pxe(1).says(Discover);
    let early = rack.input(Input::Packet {
        bytes: &packet,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        port: 67,
    });
    assert!(matches!(early.as_slice(), [Output::Ignored(_)]));
    let outputs = rack.wait(2_999);
    let questions: Vec<_> = outputs
        .iter()
        .filter(|output| is_question(output))
        .collect();
    assert_eq!(questions.len(), 3);
    let Output::Send {
        bytes, destination, ..
    } = questions[0]
    else {
        panic!("{questions:?}");
    };
    assert_eq!(*destination, Destination::Broadcast(67));
    let question = decode(bytes);
    assert!(question.flags().broadcast());
    assert_eq!(question.chaddr(), APPLIANCE.0);
    assert_eq!(rack.service.role(), Role::Undecided);
    assert_eq!(
        told(&rack.wait(1_000)),
        ["mode: auto: no DHCP server answered, so this appliance gives addresses and boot files"]
    );
    assert_eq!(rack.service.role(), Role::Server);
    assert_eq!(
        rack.says(&edk2_pxe(1).says(Discover)),
        "OFFER 10.77.0.11 to 255.255.255.255:68, snponly.efi"
    );
}

#[test]
fn auto_yields_to_a_server_that_answers_late() {
    let mut rack = rack(DhcpMode::Auto);
    rack.wait(4_000);
    assert_eq!(rack.service.role(), Role::Server);
    // What it offers to others is no answer to the search.
    let to_another = server_says(Offer, [10, 77, 0, 60], mac(1));
    assert!(hears(&mut rack, &to_another)[0].starts_with("foreign-server: "));
    assert_eq!(rack.service.role(), Role::Server);
    let late = server_says(Offer, [10, 77, 0, 61], APPLIANCE);
    let words = "mode: auto: 10.77.0.9 (52:54:00:00:00:99) gives addresses, so this appliance gives \
                 boot files beside it";
    assert_eq!(hears(&mut rack, &late), [words]);
    assert_eq!(rack.service.role(), Role::Proxy);
}

#[test]
fn auto_keeps_its_role_from_a_minute_on() {
    let mut rack = rack(DhcpMode::Auto);
    rack.wait(4_000);
    rack.wait(MINUTE);
    let late = server_says(Offer, [10, 77, 0, 61], APPLIANCE);
    assert!(hears(&mut rack, &late)[0].starts_with("foreign-server: "));
    assert_eq!(rack.service.role(), Role::Server);
}

#[test]
fn auto_is_a_proxy_beside_whoever_gives_addresses() {
    let mut rack = rack(DhcpMode::Auto);
    rack.wait(10);
    // A proxy's offer decides nothing.
    let proxys = server_says(Offer, [0; 4], APPLIANCE);
    assert!(hears(&mut rack, &proxys).is_empty());
    assert_eq!(rack.service.role(), Role::Undecided);
    let offer = server_says(Offer, [10, 77, 0, 60], APPLIANCE);
    assert_eq!(
        hears(&mut rack, &offer),
        [
            "mode: auto: 10.77.0.9 (52:54:00:00:00:99) gives addresses, so this appliance gives boot \
          files beside it"
        ]
    );
    let outputs = rack.outputs(&edk2_pxe(1).says(Discover));
    assert_eq!(
        said(&outputs),
        "OFFER 0.0.0.0 to 255.255.255.255:68, snponly.efi"
    );
    let Some(Output::Observed { event, .. }) = outputs.last() else {
        panic!("{outputs:?}");
    };
    let Event::Dhcp { summary, .. } = &**event else {
        panic!("{event:?}");
    };
    assert_eq!(
        summary,
        "DISCOVER from PXEClient:Arch:00007:UNDI:003000 → offered snponly.efi by TFTP as proxy beside \
         the DHCP server 10.77.0.9"
    );
    // What that server does is what it is for.
    let ack = server_says(Ack, [10, 77, 0, 60], mac(1));
    assert!(hears(&mut rack, &ack).is_empty());
    // It falls silent; nobody takes its place without being told to.
    let warnings = told(&rack.wait(60 * MINUTE));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("no DHCP server that gives addresses answers"));
    assert_eq!(rack.service.role(), Role::Proxy);
}

#[test]
fn a_server_tells_of_another_by_address_and_mac() {
    let mut rack = rack(DhcpMode::Server);
    rack.wait(10);
    let take = edk2_pxe(1).option(54, OTHER).option(50, [10, 77, 0, 60]);
    assert_eq!(
        told(&rack.outputs(&take.says(Request))),
        [
            "foreign-server: another DHCP server is on this network: the offer of 10.77.0.9 was taken \
             by 52:54:00:00:00:01",
            "node1 foreign-server: the offer of 10.77.0.9 was taken",
        ]
    );
    let offer = server_says(Offer, [10, 77, 0, 60], mac(1));
    let node1 = "node1 foreign-server: 10.77.0.9 (52:54:00:00:00:99) offered 10.77.0.60";
    let notice = "foreign-server: another DHCP server is on this network: 10.77.0.9 \
                  (52:54:00:00:00:99) offered 10.77.0.60 to 52:54:00:00:00:01";
    assert_eq!(hears(&mut rack, &offer), [notice, node1], "its MAC is news");
    assert_eq!(hears(&mut rack, &offer), [node1], "once an hour");
    rack.now += 61 * MINUTE;
    assert_eq!(hears(&mut rack, &offer), [notice, node1]);
    assert_eq!(rack.service.role(), Role::Server);
}

/// The own replies come back by the capture, and by a relay of this segment.
#[test]
fn it_does_not_tell_of_itself() {
    let mut rack = rack(DhcpMode::Server);
    rack.wait(10);
    let mut bytes = server_says(Offer, [10, 77, 0, 11], mac(1));
    for (source, mac) in [(OURS, APPLIANCE), (OTHER, APPLIANCE), (OURS, OTHER_MAC)] {
        let source = Ipv4Addr::from(source);
        let outputs = rack.input(Input::ServerMessage {
            bytes: &bytes,
            source,
            mac,
        });
        assert!(outputs.is_empty(), "{outputs:?}");
    }
    bytes[245..249].copy_from_slice(&OURS);
    assert!(hears(&mut rack, &bytes).is_empty());
    assert!(hears(&mut rack, &bytes[..239]).is_empty());
    assert!(hears(&mut rack, &from(1).says(Discover)).is_empty());
    let mut own = from(0xfe).says(Discover);
    own[10] = 0x80;
    assert!(matches!(
        rack.outputs(&own).as_slice(),
        [Output::Ignored(_)]
    ));
}

#[test]
fn the_search_goes_on_once_in_a_while() {
    let mut rack = rack(DhcpMode::Server);
    let questions =
        |outputs: Vec<Output>| outputs.iter().filter(|output| is_question(output)).count();
    assert_eq!(questions(rack.wait(10_000)), 3);
    assert_eq!(questions(rack.wait(10 * MINUTE)), 3);
}

#[test]
fn off_is_silent_and_looks_for_nobody() {
    let mut rack = rack(DhcpMode::Off);
    rack.input(Input::Timeout);
    assert_eq!(rack.service.deadline(), None);
    let outputs = rack.outputs(&edk2_pxe(1).says(Discover));
    assert!(matches!(outputs.as_slice(), [Output::Ignored(_), ..]));
    assert_eq!(said(&outputs), "silence");
}

#[test]
fn another_mode_begins_the_search_anew() {
    let mut rack = rack(DhcpMode::Server);
    rack.wait(5_000);
    let mut changed = (*rack.cluster).clone();
    changed.network.dhcp = DhcpMode::Auto;
    rack.cluster = std::sync::Arc::new(changed);
    rack.input(Input::Timeout);
    assert_eq!(rack.service.role(), Role::Undecided);
    rack.wait(5_000);
    assert_eq!(rack.service.role(), Role::Server);
}

/// Liars that make up servers cost no memory without end.
#[test]
fn made_up_servers_are_forgotten() {
    let mut rack = rack(DhcpMode::Proxy);
    rack.wait(10);
    for number in 0..10_000_u32 {
        let mut bytes = server_says(Offer, [10, 77, 0, 60], mac(1));
        bytes[245..249].copy_from_slice(&(0x0b00_0000 + number).to_be_bytes());
        hears(&mut rack, &bytes);
    }
    assert!(
        format!("{:?}", rack.service)
            .matches("gives_addresses")
            .count()
            <= 64
    );
}

/// The clock is set back by an hour: the search and the offers do not wait for that hour.
#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut rack = rack(DhcpMode::Auto);
    rack.input(Input::Timeout);
    rack.now = NOW - 60 * MINUTE;
    rack.input(Input::Timeout);
    rack.wait(4_000);
    assert_eq!(rack.service.role(), Role::Server);
    assert_eq!(
        rack.says(&from(9).says(Discover)),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:09"
    );
}
