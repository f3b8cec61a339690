//! Host names that clients give themselves by DHCP (option 12), made fit for the zone or refused.

use hardway_model::identity::MacAddress;

/// The longest label (RFC 1035 section 2.3.4).
const LONGEST: usize = 63;
/// Names that programs ask for to be led somewhere: a client that took one would lead its neighbours.
/// `wpad` and `isatap` are those that Microsoft's DNS servers block for that reason.
const NEVER: [&str; 3] = ["localhost", "wpad", "isatap"];

/// The label under which a client that calls itself `given` may stand in the zone of `domain`.
///
/// A name with dots is cut at the first one: hosts often give their full name. `None` for what is no
/// host name (RFC 952, RFC 1123 section 2.1), for names that other programs rely on, and for what
/// looks like some machine's hardware address but `mac`'s own.
pub fn label(given: &str, mac: Option<MacAddress>) -> Option<String> {
    let first = given.split('.').next().unwrap_or_default();
    let label = first.to_ascii_lowercase();
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_host_name = !label.is_empty()
        && label.len() <= LONGEST
        && label.bytes().all(is_fit)
        && !label.starts_with('-')
        && !label.ends_with('-');
    let is_forged = looks_like_mac(&label) && mac.is_none_or(|mac| mac.hyphenated() != label);
    let is_reserved = NEVER.contains(&label.as_str());
    (is_host_name && !is_reserved && !is_forged).then_some(label)
}

fn looks_like_mac(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let is_octet =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(is_octet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::mac;

    #[test]
    fn what_clients_call_themselves() {
        let long = "a".repeat(64);
        let table = [
            ("web7", Some("web7")),
            ("WEB7", Some("web7")),
            ("web7.example.org", Some("web7")),
            ("7", Some("7")),
            ("52-54-00-00-00-09", Some("52-54-00-00-00-09")),
            ("52-54-00-00-00-08", None),
            ("", None),
            (".", None),
            ("-web", None),
            ("web-", None),
            ("we_b", None),
            ("web 7", None),
            ("wéb", None),
            ("*", None),
            ("localhost", None),
            ("WPAD", None),
            ("isatap.lab.internal", None),
            (&long, None),
            (&long[1..], Some(&long[1..])),
        ];
        for (given, expected) in table {
            assert_eq!(label(given, Some(mac(9))).as_deref(), expected, "{given}");
        }
    }
}
