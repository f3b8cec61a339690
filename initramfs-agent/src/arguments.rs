//! What the kernel command line tells the agent.

use anyhow::{Context, Result};
use hardway_model::identity::MacAddress;
use hardway_model::network::AgentLink;

/// The agent's part of the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `hardway.url`: the appliance, without a slash at the end.
    pub url: String,
    /// `hardway.token`: this boot's token.
    pub token: String,
    /// `BOOTIF`: the interface that the firmware booted from, when it says so.
    pub boot_mac: Option<MacAddress>,
    /// `hardway.link`: what is to be made of the ports before an address is asked for.
    pub link: AgentLink,
}

impl Arguments {
    /// Parses a kernel command line. Of repeated arguments the last one counts.
    pub fn parse(line: &str) -> Result<Self> {
        let last = |key: &str| {
            line.split_whitespace()
                .filter_map(|argument| argument.strip_prefix(key)?.strip_prefix('='))
                .next_back()
        };
        let url = last("hardway.url").context("the kernel argument hardway.url= is missing")?;
        let token =
            last("hardway.token").context("the kernel argument hardway.token= is missing")?;
        let boot_mac = last("BOOTIF").map(parse_bootif).transpose()?;
        let link = last("hardway.link").map(str::parse).transpose();
        let link = link.context("reading the kernel argument hardway.link=")?;
        Ok(Self {
            link: link.unwrap_or_default(),
            url: url.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            boot_mac,
        })
    }
}

/// `01-52-54-00-00-00-01`: the ARP hardware type, then the address. Some loaders leave out the type.
fn parse_bootif(text: &str) -> Result<MacAddress> {
    let mac = match text.len() {
        20 => text.get(3..).unwrap_or(text),
        _ => text,
    };
    mac.parse()
        .with_context(|| format!("reading the kernel argument BOOTIF={text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let full = Arguments::parse(
            "console=ttyS0 hardway.url=http://10.77.0.1/ hardway.token=t0ken BOOTIF=01-52-54-00-00-00-0A\n",
        )
        .unwrap();
        assert_eq!(full.url, "http://10.77.0.1");
        assert_eq!(full.token, "t0ken");
        assert_eq!(full.boot_mac.unwrap().to_string(), "52:54:00:00:00:0a");
        let bare =
            Arguments::parse("hardway.token=a hardway.token=b hardway.url=http://x").unwrap();
        assert_eq!((bare.token.as_str(), bare.boot_mac), ("b", None));
        assert_eq!(bare.link, AgentLink::default());
        let tagged =
            Arguments::parse("hardway.url=http://x hardway.token=t hardway.link=vlan20").unwrap();
        assert_eq!(tagged.link.vlan, Some(20));
        for (line, message) in [
            ("", "the kernel argument hardway.url= is missing"),
            (
                "hardway.url=http://x",
                "the kernel argument hardway.token= is missing",
            ),
            (
                "hardway.url=http://x hardway.token=t BOOTIF=01-zz",
                "reading the kernel argument BOOTIF=01-zz",
            ),
            (
                "hardway.url=http://x hardway.token=t hardway.link=team",
                "reading the kernel argument hardway.link=",
            ),
        ] {
            assert_eq!(Arguments::parse(line).unwrap_err().to_string(), message);
        }
    }
}
