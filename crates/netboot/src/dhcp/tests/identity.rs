//! Who a client is, and what is remembered of it.

use std::net::Ipv4Addr;

use super::conversation::{From, MINUTE, OURS, Rack, decode, from, said};
use crate::dhcp::packet::MessageType::{Discover, Release, Request};
use crate::dhcp::{ClientId, Holder, Lease, Output};
use crate::fixture::{blank, mac};

/// A client on InfiniBand (RFC 4390): no hardware address in the message, and broadcasts.
fn infiniband(identifier: &[u8], options: &[(u8, &[u8])], kind: u8) -> Vec<u8> {
    let mut client = from(1).option(61, identifier);
    client.flags = 0x8000;
    for (code, value) in options {
        client = client.option(*code, *value);
    }
    let mut bytes = client.says(Discover);
    (bytes[1], bytes[2], bytes[242]) = (32, 0, kind);
    bytes[28..34].fill(0);
    bytes
}

#[test]
fn clients_without_an_ethernet_address_are_known_by_their_identifier() {
    let mut rack = Rack::new(blank());
    let discover = |identifier: &[u8]| infiniband(identifier, &[], 1);
    assert_eq!(
        rack.says(&discover(b"\xffone")),
        "OFFER 10.77.0.100 to 255.255.255.255:68"
    );
    assert_eq!(
        rack.says(&discover(b"\xfftwo")),
        "OFFER 10.77.0.101 to 255.255.255.255:68"
    );
    let take = infiniband(b"\xfftwo", &[(54, &OURS), (50, &[10, 77, 0, 101])], 3);
    let outputs = rack.outputs(&take);
    let [Output::StoreLease(lease), Output::Send { bytes, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let identifier = ClientId(b"\xfftwo".to_vec());
    assert_eq!(lease.holder(), Some(Holder::Identified(identifier)));
    assert_eq!((bytes[1], bytes[2]), (32, 0), "as it came");
    assert_eq!(said(&outputs), "ACK 10.77.0.101 to 255.255.255.255:68");
    // Another one does not get it, and after the restart it is still there.
    let mut rack = Rack::new(blank()).with_leases([lease.clone()]);
    let steal = infiniband(b"\xffone", &[(54, &OURS), (50, &[10, 77, 0, 101])], 3);
    assert_eq!(rack.says(&steal), "NAK 0.0.0.0 to 255.255.255.255:68");
    assert_eq!(rack.says(&take), "ACK 10.77.0.101 to 255.255.255.255:68");
    let nameless = infiniband(b"", &[], 1);
    assert_eq!(rack.says(&nameless), "silence");
}

/// Firmware, iPXE and the system of one machine send different identifiers, and get one address.
#[test]
fn one_machine_has_one_address_whatever_identifier_it_sends() {
    let mut rack = Rack::new(blank());
    let stages: [&[u8]; 3] = [b"", b"\x01\x52\x54\x00\x00\x00\x09", b"\xffsystemd"];
    for identifier in stages {
        let client = match identifier {
            b"" => from(9),
            identifier => from(9).option(61, identifier),
        };
        let outputs = rack.outputs(&client.says(Discover));
        assert_eq!(
            said(&outputs),
            "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:09"
        );
        let Some(Output::Send { bytes, .. }) = outputs.first() else {
            panic!("{outputs:?}");
        };
        let given_back = decode(bytes).opts().get(61.into()).is_some();
        assert_eq!(given_back, !identifier.is_empty(), "RFC 6842");
    }
}

#[test]
fn a_lease_remembers_names_and_identifiers() {
    let long = [b'x'; 80];
    let fqdn = b"\x01\0\0worker-7.example.org";
    let wire = b"\x04\0\0\x06worker";
    type Options<'o> = &'o [(u8, &'o [u8])];
    let table: [(&str, Options<'_>, Option<String>); 7] = [
        ("none", &[], None),
        ("option 12", &[(12, b"worker-7")], Some("worker-7".into())),
        (
            "with the end of a C string",
            &[(12, b"w7\0")],
            Some("w7".into()),
        ),
        ("too long", &[(12, &long)], Some("x".repeat(64))),
        ("option 81", &[(81, fqdn)], Some("worker-7".into())),
        ("option 81 in wire form", &[(81, wire)], None),
        ("no text", &[(12, b"a\xff")], Some("a".into())),
    ];
    for (case, options, name) in table {
        let mut rack = Rack::new(blank());
        let mut take = from(9).option(54, OURS).option(50, [10, 77, 0, 100]);
        for (code, value) in options {
            take = take.option(*code, *value);
        }
        let outputs = rack.outputs(&take.option(61, [0, 1, 2]).says(Request));
        let Some(Output::StoreLease(lease)) = outputs.first() else {
            panic!("{outputs:?}");
        };
        assert_eq!(lease.host_name, name, "{case}");
        assert_eq!(lease.client_id, Some(ClientId(vec![0, 1, 2])), "{case}");
    }
}

/// Firmware that gives no name does not take away the one that the system gave.
#[test]
fn a_name_outlives_the_boots_that_do_not_give_it() {
    let mut rack = Rack::new(blank());
    let named = |rack: &mut Rack, client: From| {
        let take = client.option(54, OURS).option(50, [10, 77, 0, 100]);
        let outputs = rack.outputs(&take.says(Request));
        match outputs.first() {
            Some(Output::StoreLease(lease)) => lease.host_name.clone(),
            other => panic!("{other:?}"),
        }
    };
    let system = || from(9).option(12, "w9");
    assert_eq!(named(&mut rack, system()), Some("w9".into()));
    assert_eq!(named(&mut rack, from(9)), Some("w9".into()));
    rack.outputs(&from(9).at([10, 77, 0, 100]).says(Release));
    assert_eq!(named(&mut rack, from(8)), None, "another client's");
}

/// node1's NIC was swapped: firmware shows the UUID, the installed system only its new address.
#[test]
fn the_system_keeps_the_machine_that_its_firmware_was() {
    let uuid = "12345678-1234-5678-9abc-def012345678";
    let mut rack = Rack::with(blank(), |cluster| {
        cluster.machines[0].matches.uuid = Some(uuid.to_owned());
    });
    let firmware = || {
        from(9).option(60, "PXEClient").option(
            97,
            b"\0\x78\x56\x34\x12\x34\x12\x78\x56\x9a\xbc\xde\xf0\x12\x34\x56\x78".to_vec(),
        )
    };
    let own = Lease {
        machine: Some("node1".into()),
        ..Lease::new(
            Ipv4Addr::new(10, 77, 0, 11),
            Some(mac(1)),
            rack.now + 60 * MINUTE,
        )
    };
    rack = rack.with_leases([own]);
    let offer = "OFFER 10.77.0.11 to 10.77.0.11 at 52:54:00:00:00:09";
    assert_eq!(
        rack.says(&firmware().says(Discover)),
        format!("{offer}, undionly.kpxe")
    );
    let take = |client: From| {
        client
            .option(54, OURS)
            .option(50, [10, 77, 0, 11])
            .says(Request)
    };
    rack.outputs(&take(firmware()));
    assert_eq!(rack.says(&from(9).says(Discover)), offer);
    let outputs = rack.outputs(&take(from(9)));
    let Some(Output::StoreLease(lease)) = outputs.first() else {
        panic!("{outputs:?}");
    };
    assert_eq!(lease.machine.as_deref(), Some("node1"));
    // Somebody else's firmware in this NIC speaks for itself.
    let other = from(9).option(60, "PXEClient").option(97, vec![0_u8; 17]);
    assert_eq!(
        rack.says(&other.says(Discover)),
        "OFFER 10.77.0.100 to 10.77.0.100 at 52:54:00:00:00:09, undionly.kpxe"
    );
}
