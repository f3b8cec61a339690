//! The programs, run by a small interpreter over frames that are made here.

use std::net::{Ipv4Addr, SocketAddrV4};

use hardway_model::identity::MacAddress;

use super::*;
use crate::frame::{EVERYBODY, Endpoint, datagram, probe};

/// Runs a program as the kernel does: a load beyond the frame ends it, and the frame is dropped.
fn run(program: &[Instruction], frame: &[u8]) -> u32 {
    interpret(program, frame).unwrap_or_default()
}

fn interpret(program: &[Instruction], frame: &[u8]) -> Option<u32> {
    let (mut accumulator, mut index, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let byte = |at: u32| frame.get(at as usize).map(|byte| u32::from(*byte));
    let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
    let mut at = 0;
    loop {
        let instruction = program[at];
        let operand = instruction.operand;
        let mut holds = None;
        match instruction.code {
            LOAD_WORD => accumulator = half(operand)? << 16 | half(operand + 2)?,
            LOAD_HALF => accumulator = half(operand)?,
            LOAD_BYTE => accumulator = byte(operand)?,
            LOAD_HALF_INDEXED => accumulator = half(index + operand)?,
            LOAD_BYTE_INDEXED => accumulator = byte(index + operand)?,
            LOAD_MEMORY => accumulator = memory[operand as usize],
            STORE => memory[operand as usize] = accumulator,
            INDEX_HEADER => index = (byte(operand)? & 0x0f) * 4,
            INDEX_FROM_ACCUMULATOR => index = accumulator,
            SUBTRACT_INDEX => accumulator = accumulator.wrapping_sub(index),
            AND => accumulator &= operand,
            SHIFT_RIGHT => accumulator >>= operand,
            EQUAL => holds = Some(accumulator == operand),
            GREATER_THAN_INDEX => holds = Some(accumulator > index),
            ANY_BIT => holds = Some(accumulator & operand != 0),
            RETURN => return Some(operand),
            code => panic!("instruction {code:#x}"),
        }
        at += 1 + match holds {
            Some(true) => usize::from(instruction.if_true),
            Some(false) => usize::from(instruction.if_false),
            None => 0,
        };
    }
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let end = |last, port| Endpoint {
        mac: MacAddress([2, 0, 0, 0, 0, last]),
        socket: SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, last), port),
    };
    datagram(end(1, from), end(2, to), payload).unwrap()
}

/// With options of IPv4 and of TCP, four bytes each.
fn tcp(from: u16, to: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = udp(from, to, &[]);
    frame.truncate(14 + 20);
    frame[14] = 0x46;
    let length = (24 + 24 + payload.len()) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[23] = TCP as u8;
    frame.extend([1, 1, 1, 0]);
    frame.extend(from.to_be_bytes());
    frame.extend(to.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend([0x60, flags, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]);
    frame.extend(payload);
    frame
}

fn fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20..22].copy_from_slice(&[0x20, 0x10]);
    frame
}

#[test]
fn what_is_recorded() {
    const SYN: u8 = 2;
    const ACK: u8 = 0x10;
    const FIN_ACK: u8 = 0x11;
    const RST: u8 = 4;
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    let mut icmp = udp(1, 2, &[]);
    icmp[23] = ICMP as u8;
    let mut ipv6 = udp(67, 68, &[]);
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    let data = |block: [u8; 2]| udp(3000, 4000, &[0, 3, block[0], block[1], 7, 7]);
    let cases: [(&str, Vec<u8>, u32); 28] = [
        ("an ARP probe", probe(mac, Ipv4Addr::LOCALHOST), HEADERS),
        ("ICMP", icmp, HEADERS),
        ("IPv6", ipv6, 0),
        ("DHCP of a client", udp(68, 67, &[1]), MESSAGE),
        ("DHCP of a server", udp(67, 68, &[2]), MESSAGE),
        ("a boot server's", udp(4011, 68, &[2]), MESSAGE),
        (
            "a TFTP request",
            udp(2000, 69, b"\0\x01x\0octet\0"),
            MESSAGE,
        ),
        ("DNS", udp(5353, 53, &[0]), MESSAGE),
        ("NTP", udp(123, 123, &[0]), MESSAGE),
        (
            "an option acknowledgement",
            udp(3000, 4000, &[0, 6]),
            MESSAGE,
        ),
        ("an error", udp(3000, 4000, &[0, 5, 0, 8]), MESSAGE),
        ("block 1", data([0, 1]), HEADERS),
        ("block 2", data([0, 2]), HEADERS),
        ("block 3", data([0, 3]), 0),
        ("block 64", data([0, 64]), HEADERS),
        ("block 65", data([0, 65]), 0),
        ("block 0, after 65535", data([0, 0]), HEADERS),
        ("block 257", data([1, 1]), 0),
        (
            "the acknowledgement of block 2",
            udp(3, 4, &[0, 4, 0, 2]),
            HEADERS,
        ),
        ("another datagram", udp(3000, 4000, &[9, 9, 0, 1]), 0),
        ("an empty datagram", udp(3000, 4000, &[]), 0),
        ("a later fragment", fragment(udp(67, 68, &[2])), 0),
        ("a connection", tcp(5000, 8080, SYN, &[]), HEADERS),
        ("its refusal", tcp(8080, 5000, RST, &[]), HEADERS),
        ("a request", tcp(5000, 8080, ACK, b"GET /"), REQUEST),
        ("an acknowledgement", tcp(5000, 8080, ACK, &[]), 0),
        ("a file", tcp(8080, 5000, ACK, b"MZ"), 0),
        ("its end", tcp(8080, 5000, FIN_ACK, b"MZ"), HEADERS),
    ];
    let program = recording(8080, None);
    for (name, frame, length) in cases {
        assert_eq!(run(&program, &frame), length, "{name}");
    }
    assert_eq!(run(&program, &tcp(5000, 443, SYN, &[])), 0);
    assert_eq!(run(&program, &fragment(tcp(5000, 8080, SYN, &[]))), 0);
}

/// The frames come from 10.77.0.1.
#[test]
fn of_dhcp_that_is_answered_here_only_what_others_say_is_recorded() {
    let own = recording(8080, Some(Ipv4Addr::new(10, 77, 0, 1)));
    let others = recording(8080, Some(Ipv4Addr::new(10, 77, 0, 9)));
    for (name, frame, by_others) in [
        ("a request", udp(68, 67, &[1]), 0),
        ("a relay's request", udp(67, 67, &[1]), 0),
        ("a boot server's request", udp(68, 4011, &[1]), 0),
        ("an offer", udp(67, 68, &[2]), MESSAGE),
        ("an answer to a relay", udp(67, 67, &[2]), MESSAGE),
        ("a boot server's answer", udp(4011, 68, &[2]), MESSAGE),
    ] {
        assert_eq!(run(&own, &frame), 0, "{name}");
        assert_eq!(run(&others, &frame), by_others, "{name}");
    }
    let request = udp(2000, 69, b"\0\x01x\0octet\0");
    assert_eq!(run(&own, &request), MESSAGE);
    assert_eq!(run(&own, &udp(3000, 4000, &[0, 3, 0, 1])), HEADERS);
    assert_eq!(run(&own, &tcp(5000, 8080, 2, &[])), HEADERS);
}

#[test]
fn what_servers_say() {
    let program = server_messages();
    for (name, frame, wanted) in [
        ("an offer", udp(67, 68, &[2]), true),
        ("an answer to a relay", udp(67, 67, &[2]), true),
        ("a relay's request", udp(67, 67, &[1]), false),
        ("a client's request", udp(68, 67, &[1]), false),
        ("a fragment", fragment(udp(67, 68, &[2])), false),
        ("a connection", tcp(67, 68, 2, &[2]), false),
        ("ARP", probe(EVERYBODY, Ipv4Addr::LOCALHOST), false),
    ] {
        assert_eq!(run(&program, &frame) > 0, wanted, "{name}");
    }
}

/// No frame is too short, and every path ends in a return.
#[test]
fn every_cut_frame_is_judged() {
    let whole = [
        udp(67, 68, &[2, 1, 6, 0]),
        udp(3000, 4000, &[0, 3, 0, 1]),
        tcp(5000, 80, 0x10, b"GET /"),
    ];
    let own = Some(Ipv4Addr::LOCALHOST);
    for program in [recording(80, None), recording(80, own), server_messages()] {
        assert!(program.len() < 100);
        for frame in &whole {
            for length in 0..frame.len() {
                run(&program, &frame[..length]);
            }
        }
    }
}
