//! The router advertisement that ends a client's wait for IPv6 (RFC 4861 section 4.2).
//!
//! iPXE solicits routers and waits 13 s where nobody answers. An advertisement with a router
//! lifetime of zero, without prefixes and with both DHCPv6 flags clear says: no router here, no
//! addresses to be had. It changes nothing on a host that has a real router.

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// Whether an ICMPv6 message is a router solicitation: type 133, code 0, and the 8 bytes of its
/// fixed part (RFC 4861 section 4.1). The hop limit of 255 is the receiver's to check.
pub fn is_solicitation(message: &[u8]) -> bool {
    message.len() >= 8 && message[..2] == [ROUTER_SOLICITATION, 0]
}

/// The ICMPv6 message. Its checksum is zero: for a raw ICMPv6 socket the kernel fills it in
/// (RFC 3542 section 3.1). It has to be sent with hop limit 255, from a link-local address.
pub fn advertisement() -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = ROUTER_ADVERTISEMENT;
    // Bytes 2..4 checksum; 4 hop limit unspecified; 5 flags; 6..8 router lifetime 0; 8..12 reachable
    // time and 12..16 retransmission timer, both unspecified.
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solicitations() {
        assert!(is_solicitation(&[133, 0, 0x7b, 0xb8, 0, 0, 0, 0]));
        assert!(is_solicitation(&[
            133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7
        ]));
        assert!(!is_solicitation(&[133, 0, 0, 0, 0, 0, 0]));
        assert!(!is_solicitation(&[133, 1, 0, 0, 0, 0, 0, 0]));
        assert!(!is_solicitation(&advertisement()));
        assert!(!is_solicitation(&[]));
    }

    #[test]
    fn the_advertisement_offers_nothing() {
        let message = advertisement();
        assert_eq!(message[0], 134);
        assert_eq!(message[1..], [0; 15]);
    }
}
