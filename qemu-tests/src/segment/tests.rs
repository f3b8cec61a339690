//! What the switch passes on, and to whom.

use std::time::Duration;

use super::*;

const BROADCAST: Address = [0xff; 6];
const A: Address = [0x52, 0x54, 0, 0, 0, 0xa];
const B: Address = [0x52, 0x54, 0, 0, 0, 0xb];
const C: Address = [0x52, 0x54, 0, 0, 0, 0xc];

/// A segment with one machine a port, seen from the machines' side.
struct Bench {
    segment: Segment,
    machines: Vec<UnixStream>,
    _directory: tempfile::TempDir,
}

fn bench(kinds: &[PortKind]) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("segment.pcap");
    let segment = Segment::new(directory.path(), &capture).unwrap();
    let machines: Vec<UnixStream> = kinds
        .iter()
        .enumerate()
        .map(|(index, kind)| {
            let socket = segment.add_port(&index.to_string(), *kind).unwrap();
            UnixStream::connect(socket).unwrap()
        })
        .collect();
    let connected = || {
        lock(&segment.switch.ports)
            .iter()
            .all(|port| lock(&port.outgoing).is_some())
    };
    while !connected() {
        thread::yield_now();
    }
    Bench {
        segment,
        machines,
        _directory: directory,
    }
}

impl Bench {
    fn send(&mut self, machine: usize, frame: &[u8]) {
        let mut message = (frame.len() as u32).to_be_bytes().to_vec();
        message.extend(frame);
        self.machines[machine].write_all(&message).unwrap();
    }

    fn receive(&mut self, machine: usize) -> Vec<u8> {
        let stream = &mut self.machines[machine];
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).unwrap();
        frame
    }
}

fn frame(to: Address, from: Address, mark: u8) -> Vec<u8> {
    [&to[..], &from, &[0x88, 0xb5, mark]].concat()
}

fn dhcp_reply(from: Address) -> Vec<u8> {
    let mut frame = [&BROADCAST[..], &from, &[0x08, 0x00, 0x45]].concat();
    frame.resize(34, 0);
    frame[23] = 17;
    frame.extend([0, 67, 0, 68]);
    frame
}

#[test]
fn a_known_address_gets_its_frames_alone() {
    let mut bench = bench(&[PortKind::Machine; 3]);
    bench.send(0, &frame(BROADCAST, A, 1));
    assert_eq!(bench.receive(1), frame(BROADCAST, A, 1));
    assert_eq!(bench.receive(2), frame(BROADCAST, A, 1));
    bench.send(1, &frame(A, B, 2));
    assert_eq!(bench.receive(0), frame(A, B, 2));
    bench.send(1, &frame(BROADCAST, B, 3));
    // The third machine sees the broadcast and nothing of what went to the first.
    assert_eq!(bench.receive(2), frame(BROADCAST, B, 3));
}

#[test]
fn what_is_for_the_switch_goes_no_further() {
    let mut bench = bench(&[PortKind::Machine; 2]);
    bench.send(0, &frame([0x01, 0x80, 0xc2, 0, 0, 2], A, 1));
    bench.send(0, &frame(BROADCAST, A, 2));
    assert_eq!(bench.receive(1), frame(BROADCAST, A, 2));
}

#[test]
fn the_hosts_own_dhcp_stays_off_the_segment() {
    let mut bench = bench(&[PortKind::Host, PortKind::Machine]);
    bench.send(0, &dhcp_reply(A));
    bench.send(0, &frame(BROADCAST, A, 1));
    assert_eq!(bench.receive(1), frame(BROADCAST, A, 1));
    assert_eq!(bench.segment.dhcp_replies(), 0);
}

#[test]
fn what_the_host_sends_is_never_lost() {
    let mut bench = bench(&[PortKind::Host, PortKind::Machine, PortKind::Machine]);
    bench.segment.set_loss(1000, 1);
    bench.send(2, &frame(BROADCAST, C, 1));
    bench.send(0, &frame(BROADCAST, A, 2));
    assert_eq!(bench.receive(1), frame(BROADCAST, A, 2));
}

#[test]
fn a_port_with_a_vlan_is_spoken_to_as_it_speaks() {
    let arp = |to: Address, from: Address| [&to[..], &from, &[0x08, 0x06, 1]].concat();
    let mut bench = bench(&[PortKind::Machine; 2]);
    bench.segment.set_vlan("0", 20);
    for tagged in [false, true, false] {
        let spoken = |frame: &[u8]| match tagged {
            true => frame::tagged(frame, 20),
            false => frame.to_vec(),
        };
        bench.send(0, &spoken(&arp(BROADCAST, A)));
        assert_eq!(bench.receive(1), arp(BROADCAST, A));
        // The link below the VLAN speaks, too.
        bench.send(0, &frame(BROADCAST, A, 1));
        assert_eq!(bench.receive(1), frame(BROADCAST, A, 1));
        bench.send(1, &arp(A, B));
        assert_eq!(bench.receive(0), spoken(&arp(A, B)));
    }
}

#[test]
fn a_cut_port_is_silent_until_it_is_mended() {
    let mut bench = bench(&[PortKind::Machine; 3]);
    bench.segment.set_cut("1", true);
    bench.send(0, &frame(BROADCAST, A, 1));
    assert_eq!(bench.receive(2), frame(BROADCAST, A, 1));
    bench.segment.set_cut("1", false);
    bench.send(2, &frame(BROADCAST, C, 2));
    assert_eq!(bench.receive(1), frame(BROADCAST, C, 2));
}
