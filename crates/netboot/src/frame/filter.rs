//! Which frames the kernel hands over: classic BPF programs (linux Documentation/networking/filter.rst).
//!
//! A program sees the frame from its Ethernet header on, and says how many of its bytes are wanted, 0
//! for a frame that is not.

use std::net::Ipv4Addr;

use super::{ARP, IPV4};

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// Instructions that are left out when a comparison holds.
    pub if_true: u8,
    /// Instructions that are left out when it does not.
    pub if_false: u8,
    /// The operand.
    pub operand: u32,
}

// linux include/uapi/linux/bpf_common.h; sizes and modes are added to the class.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
const LOAD_BYTE_INDEXED: u16 = 0x50;
const LOAD_MEMORY: u16 = 0x60;
const STORE: u16 = 0x02;
/// X = 4 × the low half of a byte: an IPv4 header's length.
const INDEX_HEADER: u16 = 0xb1;
const INDEX_FROM_ACCUMULATOR: u16 = 0x07;
const SUBTRACT_INDEX: u16 = 0x1c;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const EQUAL: u16 = 0x15;
const GREATER_THAN_INDEX: u16 = 0x2d;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ETHERTYPE: u32 = 12;
const IP_LENGTH: u32 = 16;
const IP_FRAGMENT: u32 = 20;
const IP_PROTOCOL: u32 = 23;
const IP_SOURCE: u32 = 26;
const IP_START: u32 = 14;
// Behind the IPv4 header, whose length is in X.
const SOURCE_PORT: u32 = 14;
const DESTINATION_PORT: u32 = 16;
const UDP_PAYLOAD: u32 = 22;
const TCP_OFFSET: u32 = 26;
const TCP_FLAGS: u32 = 27;

const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// FIN, SYN and RST (RFC 9293 section 3.1).
const BEGIN_OR_END: u32 = 0x07;
/// Where an IPv4 packet is not its datagram's first part.
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// Ports that DHCP servers and PXE boot servers listen on.
const SERVER_PORTS: [u32; 2] = [67, 4011];
/// Ports of which every datagram is wanted: DHCP clients, TFTP requests, DNS, NTP.
const WHOLE_PORTS: [u32; 4] = [68, 69, 53, 123];
/// What a DHCP server's message begins with (RFC 951).
const REPLY: u32 = 2;
/// Opcodes of a TFTP transfer that are always wanted: requests, an error, an option acknowledgement
/// (RFC 1350, RFC 2347).
const SPEAKING: [u32; 4] = [1, 2, 5, 6];
/// DATA and its ACK.
const BLOCKS: [u32; 2] = [3, 4];

/// Bytes wanted of a message that is read whole.
const MESSAGE: u32 = 1514;
/// Bytes wanted of a request by TCP.
const REQUEST: u32 = 640;
/// Bytes wanted where the headers say everything.
const HEADERS: u32 = 96;

/// What is worth recording of a machine's boot: ARP and ICMP; DHCP, TFTP requests, DNS and NTP; of a
/// TFTP transfer its option acknowledgement, errors, the first two blocks and every 64th with their
/// acknowledgements; of HTTP the beginning and the end of connections, and what clients say.
///
/// `server` is the address at which this host answers DHCP itself, if it does: of DHCP only what other
/// servers say is wanted then. Who answers knows better which clients boot, and a thousand that do not
/// cost nothing here.
pub fn recording(http_port: u16, server: Option<Ipv4Addr>) -> Vec<Instruction> {
    let mut program = Program::default();
    program.load(LOAD_HALF, ETHERTYPE);
    program.when(EQUAL, u32::from(ARP), "headers");
    program.unless(EQUAL, u32::from(IPV4), "drop");
    program.load(LOAD_BYTE, IP_PROTOCOL);
    program.when(EQUAL, ICMP, "headers");
    program.when(EQUAL, TCP, "tcp");
    program.unless(EQUAL, UDP, "drop");
    udp(&mut program, server);
    tcp(&mut program, u32::from(http_port));
    for (label, length) in [
        ("message", MESSAGE),
        ("request", REQUEST),
        ("headers", HEADERS),
        ("drop", 0),
    ] {
        program.label(label);
        program.load(RETURN, length);
    }
    program.resolved()
}

fn udp(program: &mut Program, server: Option<Ipv4Addr>) {
    program.load(LOAD_HALF, IP_FRAGMENT);
    program.when(ANY_BIT, FRAGMENT_OFFSET, "drop");
    program.load(INDEX_HEADER, IP_START);
    for (ports, label) in [(&SERVER_PORTS[..], "dhcp"), (&WHOLE_PORTS, "message")] {
        for side in [SOURCE_PORT, DESTINATION_PORT] {
            program.load(LOAD_HALF_INDEXED, side);
            for port in ports {
                program.when(EQUAL, *port, label);
            }
        }
    }
    program.load(LOAD_HALF_INDEXED, UDP_PAYLOAD);
    for opcode in SPEAKING {
        program.when(EQUAL, opcode, "message");
    }
    program.when(EQUAL, BLOCKS[0], "block");
    program.unless(EQUAL, BLOCKS[1], "drop");
    program.label("block");
    program.load(LOAD_HALF_INDEXED, UDP_PAYLOAD + 2);
    program.when(EQUAL, 1, "headers");
    program.when(EQUAL, 2, "headers");
    program.when(ANY_BIT, 63, "drop");
    program.load(RETURN, HEADERS);
    program.label("dhcp");
    if let Some(server) = server {
        program.load(LOAD_BYTE_INDEXED, UDP_PAYLOAD);
        program.unless(EQUAL, REPLY, "drop");
        program.load(LOAD_WORD, IP_SOURCE);
        program.when(EQUAL, u32::from(server), "drop");
    }
    program.load(RETURN, MESSAGE);
}

fn tcp(program: &mut Program, http_port: u32) {
    program.label("tcp");
    program.load(LOAD_HALF, IP_FRAGMENT);
    program.when(ANY_BIT, FRAGMENT_OFFSET, "drop");
    program.load(INDEX_HEADER, IP_START);
    program.load(LOAD_HALF_INDEXED, SOURCE_PORT);
    program.when(EQUAL, http_port, "server");
    program.load(LOAD_HALF_INDEXED, DESTINATION_PORT);
    program.unless(EQUAL, http_port, "drop");
    program.load(LOAD_BYTE_INDEXED, TCP_FLAGS);
    program.when(ANY_BIT, BEGIN_OR_END, "headers");
    // What is behind IPv4's header, and the length of TCP's: the difference is what the client says.
    program.load(LOAD_HALF, IP_LENGTH);
    program.load(SUBTRACT_INDEX, 0);
    program.load(STORE, 0);
    program.load(LOAD_BYTE_INDEXED, TCP_OFFSET);
    program.load(AND, 0xf0);
    program.load(SHIFT_RIGHT, 2);
    program.load(INDEX_FROM_ACCUMULATOR, 0);
    program.load(LOAD_MEMORY, 0);
    program.when(GREATER_THAN_INDEX, 0, "request");
    program.load(RETURN, 0);
    program.label("server");
    program.load(LOAD_BYTE_INDEXED, TCP_FLAGS);
    program.unless(ANY_BIT, BEGIN_OR_END, "drop");
    program.load(RETURN, HEADERS);
}

/// What DHCP servers say: UDP from port 67 with a BOOTREPLY in it. A relay's requests come from the
/// same port and are BOOTREQUESTs (RFC 951).
pub fn server_messages() -> Vec<Instruction> {
    let mut program = Program::default();
    program.load(LOAD_HALF, ETHERTYPE);
    program.unless(EQUAL, u32::from(IPV4), "drop");
    program.load(LOAD_BYTE, IP_PROTOCOL);
    program.unless(EQUAL, UDP, "drop");
    program.load(LOAD_HALF, IP_FRAGMENT);
    program.when(ANY_BIT, FRAGMENT_OFFSET, "drop");
    program.load(INDEX_HEADER, IP_START);
    program.load(LOAD_HALF_INDEXED, SOURCE_PORT);
    program.unless(EQUAL, 67, "drop");
    program.load(LOAD_BYTE_INDEXED, UDP_PAYLOAD);
    program.unless(EQUAL, REPLY, "drop");
    program.load(RETURN, u32::from(u16::MAX));
    program.label("drop");
    program.load(RETURN, 0);
    program.resolved()
}

/// A program whose jumps go to labels.
#[derive(Default)]
struct Program {
    instructions: Vec<Instruction>,
    /// Where each label stands.
    labels: Vec<(&'static str, usize)>,
    /// Jumps by their instruction: to the label where the comparison comes out so.
    jumps: Vec<(usize, bool, &'static str)>,
}

impl Program {
    /// Any instruction that does not jump.
    fn load(&mut self, code: u16, operand: u32) {
        self.instructions.push(Instruction {
            code,
            if_true: 0,
            if_false: 0,
            operand,
        });
    }

    fn when(&mut self, comparison: u16, operand: u32, label: &'static str) {
        self.jumps.push((self.instructions.len(), true, label));
        self.load(comparison, operand);
    }

    fn unless(&mut self, comparison: u16, operand: u32, label: &'static str) {
        self.jumps.push((self.instructions.len(), false, label));
        self.load(comparison, operand);
    }

    fn label(&mut self, label: &'static str) {
        self.labels.push((label, self.instructions.len()));
    }

    /// Jumps go forward only, and the programs here are far shorter than a jump may be long: a label
    /// that does not stand behind its jump would be a slip in this file. The frame is then left out.
    fn resolved(mut self) -> Vec<Instruction> {
        for (from, when, label) in &self.jumps {
            let target = self.labels.iter().find(|(name, _)| name == label);
            let skipped = target.and_then(|(_, at)| at.checked_sub(from + 1));
            let skipped = skipped.and_then(|skipped| u8::try_from(skipped).ok());
            let instruction = &mut self.instructions[*from];
            match (skipped, when) {
                (Some(skipped), true) => instruction.if_true = skipped,
                (Some(skipped), false) => instruction.if_false = skipped,
                (None, _) => {
                    instruction.code = RETURN;
                    instruction.operand = 0;
                }
            }
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests;
