//! Who a DHCP message comes from: the machine, and the program on it.

use std::fmt::Write as _;

use hardway_model::identity::Identity;

use super::packet::{Request, code};
use crate::answer::{Architecture, Client, Program};
use crate::ipxe::meaningful_uuid;

/// Reads the client off its message.
pub fn client(request: &Request) -> Client {
    Client {
        identity: Identity {
            macs: request.mac.into_iter().collect(),
            serial: None,
            uuid: request.option(code::MACHINE_IDENTIFIER).and_then(uuid),
            disks: Vec::new(),
        },
        program: program(request),
    }
}

/// How the client calls itself, for the timeline: its vendor class, with iPXE named.
pub fn name(request: &Request) -> String {
    let class = request.option(code::VENDOR_CLASS).unwrap_or_default();
    let class: String = class
        .iter()
        .take(64)
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect();
    match (is_ipxe(request), class.is_empty()) {
        (true, true) => "iPXE".to_owned(),
        (true, false) => format!("iPXE ({class})"),
        (false, true) => "a client without vendor class".to_owned(),
        (false, false) => class,
    }
}

/// The host name that the client gives itself: option 12, else the first label of option 81 (RFC 4702)
/// where that is text; at most 64 bytes.
pub fn host_name(request: &Request) -> Option<String> {
    let name = match (
        request.option(code::HOST_NAME),
        request.option(code::CLIENT_FQDN),
    ) {
        (Some(name), _) => name,
        // Flags, two codes that mean nothing any more, and the name; flag E says that it is not text.
        (None, Some([flags, _, _, name @ ..])) if flags & 4 == 0 => {
            name.split(|byte| *byte == b'.').next().unwrap_or_default()
        }
        _ => return None,
    };
    let name = &name[..name.len().min(64)];
    let name = String::from_utf8_lossy(name);
    let name = name.trim_end_matches(['\0', char::REPLACEMENT_CHARACTER]);
    (!name.is_empty()).then(|| name.to_owned())
}

fn program(request: &Request) -> Program {
    let architecture = architecture(request);
    let class = request.option(code::VENDOR_CLASS).unwrap_or_default();
    if is_ipxe(request) {
        Program::Ipxe(architecture)
    } else if class.starts_with(b"HTTPClient") {
        Program::HttpBoot(architecture)
    } else if class.starts_with(b"PXEClient") {
        Program::Pxe(architecture)
    } else {
        Program::OperatingSystem
    }
}

/// The user class is plain `iPXE`, without the length bytes of RFC 3004.
fn is_ipxe(request: &Request) -> bool {
    request.option(code::USER_CLASS) == Some(b"iPXE") || request.option(code::IPXE).is_some()
}

/// The first of option 93's list for which there is a boot file, else the first. Firmware without the
/// option is a BIOS (RFC 4578 knows none without, older ROMs do); a vendor class may name it as
/// `PXEClient:Arch:00007:…` too.
fn architecture(request: &Request) -> Architecture {
    let list = request.option(code::ARCHITECTURE).unwrap_or_default();
    let list = || {
        list.chunks_exact(2)
            .map(|pair| Architecture(u16::from_be_bytes([pair[0], pair[1]])))
    };
    let is_served = |own: &Architecture| own.class(false).is_some() || own.class(true).is_some();
    list()
        .find(is_served)
        .or_else(|| list().next())
        .or_else(|| architecture_of_class(request.option(code::VENDOR_CLASS)?))
        .unwrap_or(Architecture::BIOS)
}

fn architecture_of_class(class: &[u8]) -> Option<Architecture> {
    let class = std::str::from_utf8(class).ok()?;
    let (_, after) = class.split_once(":Arch:")?;
    after.get(..5)?.parse().ok().map(Architecture)
}

/// Option 97 is a type byte 0 and the UUID in SMBIOS order: its first three fields little-endian.
fn uuid(value: &[u8]) -> Option<String> {
    let [0, bytes @ ..] = value else {
        return None;
    };
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    let mut text = String::new();
    for (position, index) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
        .into_iter()
        .enumerate()
    {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{:02x}", bytes[index]);
    }
    meaningful_uuid(&text)
}
