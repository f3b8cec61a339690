//! The scalars of the file: texts with a form of their own, and choices among words.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::read::{Read, wrong_type};
use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::tree::{Node, Value};
use crate::cluster::{Addressing, DhcpMode, UnknownPolicy};
use crate::desired::{
    AfterInstall, BootOrder, ConfigApplier, InstallPolicy, Preference, WipePolicy,
};
use crate::identity::{MacAddress, Sha256};
use crate::network::BondMode;
use crate::quantity::{ByteSize, parse_duration};

impl Read for String {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        // Not taken for its text: `serial: 0123` has lost its zero by now.
        let help = match node.value {
            Value::Number(_) | Value::Bool(_) => "put it in quotes",
            _ => "write a single value",
        };
        wrong_type(node, path, "a text", help, problems);
        None
    }
}

impl Read for bool {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        wrong_type(node, path, "`true` or `false`", "without quotes", problems);
        None
    }
}

impl Read for u64 {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if let Value::Number(number) = &node.value
            && let Some(number) = number.as_u64()
        {
            return Some(number);
        }
        wrong_type(node, path, "a whole number", "without quotes", problems);
        None
    }
}

/// Any value, for templates.
pub(crate) type Variables = serde_json::Map<String, serde_json::Value>;

impl Read for Variables {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match to_json(&node.value) {
            serde_json::Value::Object(map) => Some(map),
            _ => {
                wrong_type(
                    node,
                    path,
                    "a mapping",
                    "write `key: value` lines",
                    problems,
                );
                None
            }
        }
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.clone().into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(|item| to_json(&item.value)).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.name.clone(), to_json(&node.value)))
            .collect(),
    }
}

/// A scalar that is written as a text of some form.
macro_rules! text_form {
    ($(#[doc = $doc:literal])* $name:ident: $type:ty, $parse:expr, $what:literal, $help:literal, $pattern:literal) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $name(pub $type);

        impl Read for $name {
            fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    wrong_type(node, path, $what, $help, problems);
                    return None;
                };
                let parsed: Option<$type> = ($parse)(text.as_str());
                if parsed.is_none() {
                    problems.add(node.place, path, format!("`{text}` is not {}", $what), $help);
                }
                parsed.map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

text_form!(
    /// `52:54:00:00:00:01`
    Mac: MacAddress,
    |text: &str| text.parse().ok(),
    "a MAC address",
    "write six pairs of hexadecimal digits in quotes, as in \"52:54:00:00:00:01\"",
    "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$|^[0-9A-Fa-f]{12}$"
);

text_form!(
    /// 64 hexadecimal digits.
    Digest: Sha256,
    |text: &str| text.parse().ok(),
    "a SHA-256 digest",
    "write 64 hexadecimal digits, as `sha256sum FILE` prints them",
    "^[0-9A-Fa-f]{64}$"
);

text_form!(
    /// `4GiB`
    Size: u64,
    |text: &str| text.parse().ok().map(|ByteSize(bytes)| bytes),
    "a size",
    "write a whole number and a unit, as in 4GiB, 512MiB or 500GB",
    "^[0-9]+ ?(B|[KMGT]iB|[KMGT]|[kKMGT]B)$"
);

text_form!(
    /// `1h`
    Span: Duration,
    |text: &str| parse_duration(text).ok(),
    "a duration",
    "write a whole number and a unit, as in 90s, 30m, 12h or 7d",
    "^[0-9]+ ?[smhd]$"
);

text_form!(
    /// `10.77.0.1`
    Address: Ipv4Addr,
    |text: &str| text.parse().ok(),
    "an IPv4 address",
    "write four numbers up to 255, as in 10.77.0.11",
    "^([0-9]{1,3}\\.){3}[0-9]{1,3}$"
);

text_form!(
    /// `10.77.0.1/24`
    AddressWithPrefix: (Ipv4Addr, u8),
    |text: &str| {
        let (address, prefix) = text.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    },
    "an address with the length of its network's prefix",
    "write it as in 10.77.0.1/24",
    "^([0-9]{1,3}\\.){3}[0-9]{1,3}/[0-9]{1,2}$"
);

text_form!(
    /// `10.77.0.100-10.77.0.199`
    AddressRange: (Ipv4Addr, Ipv4Addr),
    |text: &str| {
        let (first, last) = text.split_once('-')?;
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    },
    "a range of addresses",
    "write first and last, as in 10.77.0.100-10.77.0.199",
    "^([0-9]{1,3}\\.){3}[0-9]{1,3} ?- ?([0-9]{1,3}\\.){3}[0-9]{1,3}$"
);

/// A choice among words.
macro_rules! choice {
    ($type:ty: $($word:literal => $value:expr),+ $(,)?) => {
        impl Read for $type {
            fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
                let known = [$($word),+];
                let Value::Text(text) = &node.value else {
                    wrong_type(node, path, "a word", &suggestion("", known), problems);
                    return None;
                };
                match text.as_str() {
                    $($word => Some($value),)+
                    _ => {
                        let message = format!("`{text}` is not possible here");
                        problems.add(node.place, path, message, suggestion(text, known));
                        None
                    }
                }
            }
        }
    };
}

choice!(InstallPolicy: "automatic" => Self::Automatic, "when-armed" => Self::WhenArmed);
choice!(WipePolicy: "never" => Self::Never, "if-ours" => Self::IfOurs, "always" => Self::Always);
choice!(BootOrder: "network-first" => Self::NetworkFirst, "disk-first" => Self::DiskFirst, "keep" => Self::Keep);
choice!(AfterInstall: "kexec" => Self::Kexec, "reboot" => Self::Reboot, "poweroff" => Self::Poweroff);
choice!(ConfigApplier: "agent" => Self::Agent, "flatcar" => Self::Flatcar, "fedora-coreos" => Self::FedoraCoreos);
choice!(Preference: "smallest" => Self::Smallest, "largest" => Self::Largest);
choice!(DhcpMode: "auto" => Self::Auto, "server" => Self::Server, "proxy" => Self::Proxy, "off" => Self::Off);
choice!(UnknownPolicy: "discover" => Self::Discover, "menu" => Self::Menu, "local-disk" => Self::LocalDisk, "ignore" => Self::Ignore);
choice!(BondMode: "active-backup" => Self::ActiveBackup, "lacp" => Self::Lacp);
choice!(Addressing: "dhcp" => Self::Dhcp, "static" => Self::Static, "none" => Self::None);
