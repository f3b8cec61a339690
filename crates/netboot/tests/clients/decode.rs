//! A DHCP message in words, for whoever reviews a recording. It shares no code with what it shows.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 236;

/// How an option's value is written.
enum Form {
    Addresses,
    Number,
    Text,
    Codes,
    MessageType,
    Inside,
    Relay,
    Bytes,
}

/// One line for each part.
pub fn lines(message: &[u8]) -> Vec<String> {
    let Some(options) = message
        .get(HEADER..)
        .and_then(|rest| rest.strip_prefix(&MAGIC))
    else {
        return vec!["no DHCP message".to_owned()];
    };
    let mut lines = header(message);
    for (code, value) in read(options) {
        let (name, form) = describe(code);
        lines.push(format!("{code} {name}: {}", value_text(value, &form)));
    }
    lines
}

fn header(message: &[u8]) -> Vec<String> {
    let operation = match message[0] {
        1 => "request".to_owned(),
        2 => "reply".to_owned(),
        other => format!("operation {other}"),
    };
    let address = |at: usize| {
        let octets = [
            message[at],
            message[at + 1],
            message[at + 2],
            message[at + 3],
        ];
        Ipv4Addr::from(octets)
    };
    let mut lines = vec![format!(
        "{operation}, xid {}, hops {}, {} s, flags {}",
        hex(&message[4..8]),
        message[3],
        u16::from_be_bytes([message[8], message[9]]),
        hex(&message[10..12]),
    )];
    let fields = [
        (12, "ciaddr"),
        (16, "yiaddr"),
        (20, "siaddr"),
        (24, "giaddr"),
    ];
    let given = fields
        .iter()
        .filter(|(at, _)| !address(*at).is_unspecified());
    let given: Vec<String> = given
        .map(|(at, name)| format!("{name} {}", address(*at)))
        .collect();
    let length = usize::from(message[2]).min(16);
    let hardware: Vec<String> = message[28..28 + length]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    lines.push(
        format!("chaddr {} {}", hardware.join(":"), given.join(" "))
            .trim_end()
            .to_owned(),
    );
    for (range, name) in [(44..108, "sname"), (108..236, "file")] {
        let field = &message[range];
        let end = field
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(field.len());
        if end > 0 {
            lines.push(format!("{name} {}", text(&field[..end])));
        }
    }
    lines
}

/// The options as they stand: one that is split stands there twice.
fn read(mut options: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [] | [_] | [255, ..] => return found,
            [code, length, ref rest @ ..] => {
                let (value, rest) = rest.split_at(usize::from(length).min(rest.len()));
                found.push((code, value));
                options = rest;
            }
        }
    }
}

fn describe(code: u8) -> (&'static str, Form) {
    match code {
        1 => ("subnet mask", Form::Addresses),
        3 => ("router", Form::Addresses),
        6 => ("name servers", Form::Addresses),
        12 => ("host name", Form::Text),
        15 => ("domain", Form::Text),
        28 => ("broadcast address", Form::Addresses),
        42 => ("NTP servers", Form::Addresses),
        43 => ("vendor's own", Form::Inside),
        50 => ("requested address", Form::Addresses),
        51 => ("lease time", Form::Number),
        53 => ("message type", Form::MessageType),
        54 => ("server identifier", Form::Addresses),
        55 => ("parameters", Form::Codes),
        56 => ("message", Form::Text),
        57 => ("largest message", Form::Number),
        58 => ("renewal time", Form::Number),
        59 => ("rebinding time", Form::Number),
        60 => ("vendor class", Form::Text),
        61 => ("client identifier", Form::Bytes),
        66 => ("TFTP server", Form::Text),
        67 => ("boot file", Form::Text),
        77 => ("user class", Form::Text),
        82 => ("relay agent", Form::Relay),
        93 => ("architecture", Form::Number),
        94 => ("network interface", Form::Bytes),
        97 => ("machine identifier", Form::Bytes),
        145 => ("forcerenew nonce", Form::Bytes),
        175 => ("iPXE", Form::Inside),
        _ => ("", Form::Bytes),
    }
}

fn value_text(value: &[u8], form: &Form) -> String {
    match form {
        Form::Addresses if value.len().is_multiple_of(4) && !value.is_empty() => {
            let addresses = value.chunks(4).map(|octets| {
                let octets = [octets[0], octets[1], octets[2], octets[3]];
                Ipv4Addr::from(octets).to_string()
            });
            addresses.collect::<Vec<_>>().join(" ")
        }
        Form::Number if matches!(value.len(), 1..=4) => {
            let number = value
                .iter()
                .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            number.to_string()
        }
        Form::Text => text(value),
        Form::Codes => {
            let codes = value.iter().map(u8::to_string);
            codes.collect::<Vec<_>>().join(" ")
        }
        Form::MessageType => match *value {
            [kind @ 1..=8] => {
                let names = [
                    "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM",
                ];
                names[usize::from(kind) - 1].to_owned()
            }
            _ => hex(value),
        },
        Form::Inside | Form::Relay => {
            let parts = read_inside(value);
            let parts = parts.map(|parts| {
                let texts = parts
                    .iter()
                    .map(|(code, value)| format!("{code}={}", hex(value)));
                texts.collect::<Vec<_>>().join(" ")
            });
            parts.unwrap_or_else(|| hex(value))
        }
        Form::Addresses | Form::Number | Form::Bytes => hex(value),
    }
}

/// Options inside an option, where it is made of whole ones.
fn read_inside(mut value: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let [code, length, rest @ ..] = value {
        let (inner, after) = rest.split_at_checked(usize::from(*length))?;
        found.push((*code, inner));
        value = after;
    }
    (value.is_empty() || value == [255]).then_some(found)
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        let _ = write!(text, "{}", byte.escape_ascii());
    }
    text.push('"');
    text
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
