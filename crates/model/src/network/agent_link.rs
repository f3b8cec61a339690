//! `hardway.link=…`: what the agent makes of its ports before it asks for an address.

use std::fmt;
use std::str::FromStr;

use super::BondMode;
use crate::identity::MacAddress;

/// A bond, a VLAN, or a VLAN on a bond.
///
/// Written as words with commas between: `active-backup,52:54:00:00:00:01,52:54:00:00:00:02,vlan20`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentLink {
    /// How the ports are bonded; `None`: the port that booted stays by itself.
    pub bond: Option<BondMode>,
    /// The bond's ports.
    pub ports: Vec<MacAddress>,
    /// The VLAN's id.
    pub vlan: Option<u16>,
}

impl fmt::Display for AgentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.bond.map(|mode| mode.name().to_owned());
        let ports = self.ports.iter().map(MacAddress::to_string);
        let vlan = self.vlan.map(|id| format!("vlan{id}"));
        let words: Vec<String> = mode.into_iter().chain(ports).chain(vlan).collect();
        f.write_str(&words.join(","))
    }
}

/// Why a text is no [`AgentLink`]: the word that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a kind of bond, nor a MAC address, nor a VLAN")]
pub struct InvalidAgentLink(pub String);

impl FromStr for AgentLink {
    type Err = InvalidAgentLink;

    fn from_str(text: &str) -> Result<Self, InvalidAgentLink> {
        let mut link = Self::default();
        for word in text.split(',') {
            let invalid = || InvalidAgentLink(word.to_owned());
            match word {
                "active-backup" => link.bond = Some(BondMode::ActiveBackup),
                "lacp" => link.bond = Some(BondMode::Lacp),
                _ => match word.strip_prefix("vlan") {
                    Some(id) => link.vlan = Some(id.parse().map_err(|_| invalid())?),
                    None => link.ports.push(word.parse().map_err(|_| invalid())?),
                },
            }
        }
        Ok(link)
    }
}
