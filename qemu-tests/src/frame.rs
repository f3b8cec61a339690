//! The few facts about an Ethernet frame that the segment acts on.

/// The longest frame that a port may send: QEMU's own limit for packets without offloads.
pub const LONGEST: usize = 65_550;

/// An Ethernet address as it stands in a frame.
pub type Address = [u8; 6];

/// Which way a DHCP message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dhcp {
    /// To a server's port 67 (or 4011, RFC-less but used by PXE).
    Request,
    /// To a client's port 68.
    Reply,
}

/// Where the frame goes.
pub fn destination(frame: &[u8]) -> Option<Address> {
    frame.first_chunk().copied()
}

/// Where the frame comes from.
pub fn source(frame: &[u8]) -> Option<Address> {
    frame.get(6..12)?.try_into().ok()
}

/// Whether an address names a group: broadcast or multicast.
pub fn is_group(address: Address) -> bool {
    address[0] & 1 == 1
}

/// Whether the frame is a DHCP message over IPv4, and which way it goes.
pub fn dhcp(frame: &[u8]) -> Option<Dhcp> {
    let udp = transport(frame, 17)?;
    match u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]) {
        67 | 4011 => Some(Dhcp::Request),
        68 => Some(Dhcp::Reply),
        _ => None,
    }
}

/// Whether the frame is TCP over IPv4.
pub fn is_tcp(frame: &[u8]) -> bool {
    transport(frame, 6).is_some()
}

/// Damages what a web server sends by TCP over IPv4, so that TCP does not see it: two words of the payload
/// change places, and their sum (RFC 9293, section 3.1) stays. Small segments, which hold more than data,
/// are left as they are. Tells whether it was done.
pub fn damage(frame: &mut [u8]) -> bool {
    const WEB: [u8; 2] = 80_u16.to_be_bytes();
    const SMALL: usize = 1000;
    let Some(segment) = transport(frame, 6) else {
        return false;
    };
    let (segment_length, is_web) = (segment.len(), segment.starts_with(&WEB));
    let header = usize::from(segment.get(12).copied().unwrap_or_default() >> 4) * 4;
    let begin = frame.len() - segment_length;
    if !is_web || segment_length < header + SMALL {
        return false;
    }
    // From its end: at its beginning an answer may have its own header.
    let last = (segment_length & !1) - 4;
    for at in (header..=last).rev().step_by(2).map(|at| begin + at) {
        let (first, second) = frame[at..at + 4].split_at_mut(2);
        if first != second {
            first.swap_with_slice(second);
            return true;
        }
    }
    false
}

/// Whether the frame is IPv6 of any kind.
pub fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

/// The tag protocol identifier of IEEE 802.1Q.
const TAG: [u8; 2] = [0x81, 0x00];

/// The frame with a VLAN's tag.
pub fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(frame.len().min(12));
    [addresses, &TAG, &id.to_be_bytes(), rest].concat()
}

/// The frame without its tag, if it has that of this VLAN. Its priority does not matter.
pub fn untagged(frame: &[u8], id: u16) -> Option<Vec<u8>> {
    let tag = frame.get(12..16)?;
    let found = u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff;
    (tag[..2] == TAG && found == id).then(|| [&frame[..12], &frame[16..]].concat())
}

/// Whether no switch may pass it on, as LACP's own (IEEE 802.1Q, table 8-1).
pub fn is_for_the_next_station(destination: Address) -> bool {
    matches!(destination, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

/// Whether the frame is IPv4 or ARP: of a host that has an address, or asks for one.
pub fn is_of_ipv4(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x08, 0x00 | 0x06]))
}

/// The transport header of an IPv4 frame, if its protocol is `protocol`.
fn transport(frame: &[u8], protocol: u8) -> Option<&[u8]> {
    if frame.get(12..14) != Some(&[0x08, 0x00]) || frame.get(23) != Some(&protocol) {
        return None;
    }
    let header_length = usize::from(frame[14] & 0x0f) * 4;
    frame.get(14 + header_length..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_to(port: u16) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, 0x45]);
        frame.resize(14 + 20, 0);
        frame[23] = 17;
        frame.extend([0, 68]);
        frame.extend(port.to_be_bytes());
        frame
    }

    #[test]
    fn dhcp_messages_are_told_by_their_port() {
        assert_eq!(dhcp(&udp_to(67)), Some(Dhcp::Request));
        assert_eq!(dhcp(&udp_to(68)), Some(Dhcp::Reply));
        assert_eq!(dhcp(&udp_to(53)), None);
    }

    #[test]
    fn a_tag_goes_in_and_comes_out() {
        let frame = udp_to(67);
        let with_tag = tagged(&frame, 20);
        assert_eq!(with_tag[12..18], [0x81, 0x00, 0, 20, 0x08, 0x00]);
        assert_eq!(untagged(&with_tag, 20), Some(frame.clone()));
        assert_eq!(untagged(&with_tag, 21), None);
        assert_eq!(untagged(&frame, 20), None);
    }

    #[test]
    fn cut_off_frames_are_nothing() {
        let whole = udp_to(67);
        for length in 0..whole.len() {
            assert_eq!(dhcp(&whole[..length]), None, "{length} bytes");
        }
        let whole = tcp_from(80, &[7; 1400]);
        for length in 0..whole.len() {
            damage(&mut whole[..length].to_vec());
        }
    }

    fn tcp_from(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = udp_to(0);
        frame[23] = 6;
        frame.truncate(34);
        frame.extend(port.to_be_bytes());
        frame.resize(34 + 20, 0);
        frame[34 + 12] = 5 << 4;
        frame.extend(payload);
        frame
    }

    #[test]
    fn damage_is_not_seen_by_the_checksum() {
        let sum = |frame: &[u8]| -> u32 {
            let words = frame[34..].chunks_exact(2);
            words
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum()
        };
        let payload: Vec<u8> = (0..1400).map(|index| (index / 100) as u8).collect();
        let whole = tcp_from(80, &payload);
        for whole in [&whole[..], &whole[..whole.len() - 1]] {
            let mut damaged = whole.to_owned();
            assert!(damage(&mut damaged));
            assert_eq!(damaged[..whole.len() - 200], whole[..whole.len() - 200]);
            assert_ne!(damaged, whole);
            assert_eq!(sum(&damaged), sum(whole));
        }
        for mut spared in [
            tcp_from(22, &payload),
            tcp_from(80, &payload[..900]),
            tcp_from(80, &[7; 1400]),
        ] {
            assert!(!damage(&mut spared));
        }
    }
}
