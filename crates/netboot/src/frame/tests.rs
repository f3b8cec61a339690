//! Frames made, read and damaged.

use proptest::prelude::*;

use super::*;

fn endpoint(mac: [u8; 6], address: [u8; 4], port: u16) -> Endpoint {
    Endpoint {
        mac: MacAddress(mac),
        socket: SocketAddrV4::new(address.into(), port),
    }
}

/// Against a frame that was worked out by hand from the RFCs' figures.
#[test]
fn a_datagram_byte_by_byte() {
    let frame = datagram(
        endpoint([2, 0, 0, 0, 0, 1], [10, 77, 0, 1], 67),
        endpoint([2, 0, 0, 0, 0, 9], [10, 77, 0, 100], 68),
        b"abc",
    );
    let expected = [
        [2, 0, 0, 0, 0, 9].as_slice(),
        &[2, 0, 0, 0, 0, 1],
        &[8, 0],
        &[0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17],
        &[0x25, 0xd0],
        &[10, 77, 0, 1, 10, 77, 0, 100],
        &[0, 67, 0, 68, 0, 11],
        &[0x25, 0xf0],
        b"abc",
    ];
    assert_eq!(frame.unwrap(), expected.concat());
}

#[test]
fn what_does_not_fit_one_packet_is_not_made() {
    let end = endpoint([2; 6], [10, 0, 0, 1], 67);
    assert!(datagram(end, end, &vec![0; 65_507]).is_some());
    assert!(datagram(end, end, &vec![0; 65_508]).is_none());
}

#[test]
fn a_probe_claims_nothing_and_an_answer_does() {
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    let address = Ipv4Addr::new(10, 77, 0, 100);
    let probe = probe(mac, address);
    assert_eq!(probe.len(), 42);
    assert_eq!(claim(&probe), None);
    let mut answer = probe.clone();
    answer[21] = 2;
    answer[28..32].copy_from_slice(&address.octets());
    assert_eq!(claim(&answer), Some((address, mac)));
    for length in 0..32 {
        assert_eq!(claim(&answer[..length]), None, "{length} bytes");
    }
    // Another hardware, another protocol, another EtherType.
    for offset in [15, 17, 13] {
        let mut other = answer.clone();
        other[offset] ^= 0x40;
        assert_eq!(claim(&other), None, "byte {offset}");
    }
}

proptest! {
    #[test]
    fn what_is_made_can_be_read(
        payload: Vec<u8>, from: u16, to: u16, source: [u8; 4], destination: [u8; 4], padding in 0..60_usize
    ) {
        let source = endpoint([2, 0, 0, 0, 0, 1], source, from);
        let destination = endpoint([0xff; 6], destination, to);
        let mut frame = datagram(source, destination, &payload).unwrap();
        let udp = &frame[34..];
        prop_assert_eq!(checksum(&[&frame[14..34]]), 0);
        let pseudo = pseudo_header(source.socket, destination.socket, udp.len() as u16);
        prop_assert_eq!(checksum(&[&pseudo, udp]), 0);
        frame.extend(vec![0; padding]);
        let read = Datagram::read(&frame);
        prop_assert_eq!(read, Some(Datagram { source, destination, payload: &payload }));
    }

    #[test]
    fn no_frame_is_too_strange(mut frame: Vec<u8>, ethertype in prop::sample::select(vec![IPV4, ARP])) {
        if frame.len() >= 14 {
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        }
        Datagram::read(&frame);
        claim(&frame);
    }
}
