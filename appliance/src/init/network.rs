//! The appliance's own link and address, by cluster.yaml.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use hardway_model::cluster::{Cluster, Interface};
use hardway_model::identity::MacAddress;
use hardway_userspace::links::{self, Link};

use super::told;

/// Used when cluster.yaml does not even tell an address, so that the page that shows the mistake can
/// be reached.
pub const FALLBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 0, 1), 24);

/// How long the first cable is waited for before one without carrier is taken.
const CARRIER_PATIENCE: Duration = Duration::from_secs(10);

/// Neighbours that the kernel remembers: below the first it forgets none, and it never holds more than
/// the third (arp(7)). Its own default of 1024 at most is fewer than the machines of some halls.
const NEIGHBOURS: [(&str, &str); 3] = [
    ("gc_thresh3", "65536"),
    ("gc_thresh2", "32768"),
    ("gc_thresh1", "16384"),
];

/// Makes room for thousands of neighbours, below `root`. What cannot be set stays as it is.
pub fn make_room(root: &Path) {
    let folder = root.join("proc/sys/net/ipv4/neigh/default");
    for (name, most) in NEIGHBOURS {
        let _ = std::fs::write(folder.join(name), most);
    }
}

/// What the appliance's own network is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub interface: Interface,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
}

impl Wanted {
    /// From a cluster that is right; else from whatever address the text tells; else the fallback.
    pub fn of(cluster: Option<&Cluster>, text: &str) -> Self {
        if let Some(Cluster { network, .. }) = cluster {
            return Self {
                interface: network.interface.clone(),
                address: network.address,
                prefix: network.prefix,
                gateway: network
                    .gateway
                    .filter(|gateway| *gateway != network.address),
            };
        }
        let (address, prefix) = first_address(text).unwrap_or(FALLBACK);
        Self {
            interface: Interface::Auto,
            address,
            prefix,
            gateway: None,
        }
    }
}

/// The first `address:` with a prefix length in a text that need not be YAML.
fn first_address(text: &str) -> Option<(Ipv4Addr, u8)> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let after_key = lines.flat_map(|line| line.split("address:").skip(1));
    after_key
        .filter_map(|rest| {
            let rest = rest.trim_start_matches([' ', '"', '\'']);
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '/');
            let (address, prefix) = rest[..end.unwrap_or(rest.len())].split_once('/')?;
            let prefix = prefix
                .parse()
                .ok()
                .filter(|prefix| (1..=30).contains(prefix))?;
            Some((address.parse().ok()?, prefix))
        })
        .next()
}

/// A link that has its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    pub name: String,
    pub mac: MacAddress,
    pub wanted: Wanted,
}

/// The network on its way up.
pub struct Network {
    began: Instant,
    pub configured: Option<Configured>,
    /// Why it is not up, for the screen.
    pub problem: Option<String>,
}

impl Network {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            configured: None,
            problem: None,
        }
    }

    /// Brings the link up if it is not, or if something else is wanted of it now.
    pub fn tend(&mut self, wanted: &Wanted) {
        let current = self
            .configured
            .as_ref()
            .map(|configured| &configured.wanted);
        if current == Some(wanted) {
            return;
        }
        match self.configure(wanted) {
            Ok(configured) => {
                self.problem = None;
                self.configured = Some(configured);
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    fn configure(&self, wanted: &Wanted) -> Result<Configured, String> {
        let root = Path::new("/");
        let found = links::list(root).map_err(|error| told(&error))?;
        // A link shows its carrier only when it is up.
        for link in &found {
            links::up(&link.name).map_err(|error| told(&error))?;
        }
        let found = links::list(root).map_err(|error| told(&error))?;
        let patient = self.began.elapsed() < CARRIER_PATIENCE;
        let link = choose(&found, &wanted.interface, patient)?;
        let Wanted {
            address, prefix, ..
        } = *wanted;
        links::set_address(&link.name, address, prefix).map_err(|error| told(&error))?;
        if let Some(gateway) = wanted.gateway {
            links::set_default_route(&link.name, gateway).map_err(|error| told(&error))?;
        }
        Ok(Configured {
            name: link.name.clone(),
            mac: MacAddress(link.mac),
            wanted: wanted.clone(),
        })
    }
}

/// The link that is meant. `auto` is the first one with a carrier; without any, after some patience,
/// the first one.
fn choose<'a>(found: &'a [Link], wanted: &Interface, patient: bool) -> Result<&'a Link, String> {
    let names = || {
        let names: Vec<String> = found
            .iter()
            .map(|link| format!("{} {}", link.name, MacAddress(link.mac)))
            .collect();
        match names.is_empty() {
            true => "there is no Ethernet interface with a driver".to_owned(),
            false => format!("there are {}", names.join(", ")),
        }
    };
    let link = match wanted {
        Interface::Auto => match found.iter().find(|link| link.carrier) {
            None if patient && !found.is_empty() => {
                return Err("no Ethernet interface has a carrier yet".into());
            }
            None => found.first(),
            link => link,
        },
        Interface::Name(name) => found.iter().find(|link| link.name == *name),
        Interface::Mac(mac) => found.iter().find(|link| link.mac == mac.0),
    };
    link.ok_or_else(|| match wanted {
        Interface::Auto => names(),
        Interface::Name(name) => format!("there is no interface {name}; {}", names()),
        Interface::Mac(mac) => format!("there is no interface with {mac}; {}", names()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_broken_file() {
        for (text, address) in [
            ("network:\n  address: 10.1.2.3/16\n", Some("10.1.2.3/16")),
            (
                "network: {address: \"192.168.7.1/24\", interface: auto}",
                Some("192.168.7.1/24"),
            ),
            (
                "machines:\n - address: 10.0.0.5\nnetwork:\n  address: 10.0.0.1/24 # ours",
                Some("10.0.0.1/24"),
            ),
            ("# address: 10.0.0.9/24\n", None),
            ("address: 10.0.0.1/99\naddress: 300.0.0.1/24\n", None),
            ("", None),
        ] {
            let found = first_address(text).map(|(address, prefix)| format!("{address}/{prefix}"));
            assert_eq!(found.as_deref(), address, "{text}");
        }
    }

    #[test]
    fn there_is_room_for_neighbours() {
        let root = tempfile::tempdir().unwrap();
        make_room(root.path()); // Without such a folder nothing happens.
        let folder = root.path().join("proc/sys/net/ipv4/neigh/default");
        std::fs::create_dir_all(&folder).unwrap();
        make_room(root.path());
        let set = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        let room: Vec<u32> = ["gc_thresh1", "gc_thresh2", "gc_thresh3"]
            .map(|name| set(name).parse().unwrap())
            .into();
        assert!(room.is_sorted() && room[0] >= 10_000, "{room:?}");
    }

    #[test]
    fn links_are_chosen_by_what_is_wanted() {
        let link = |name: &str, last: u8, carrier| Link {
            name: name.into(),
            mac: [0x52, 0x54, 0, 0, 0, last],
            driver: None,
            carrier,
            speed: None,
        };
        let found = [link("eth0", 1, false), link("eth1", 2, true)];
        let name = |wanted: Interface, patient| {
            choose(&found, &wanted, patient).map(|link| link.name.clone())
        };
        assert_eq!(name(Interface::Auto, true).unwrap(), "eth1");
        assert_eq!(name(Interface::Name("eth0".into()), true).unwrap(), "eth0");
        assert_eq!(
            name(Interface::Mac(MacAddress(found[0].mac)), true).unwrap(),
            "eth0"
        );
        let error = name(Interface::Name("eth7".into()), false).unwrap_err();
        assert!(
            error.contains("eth7") && error.contains("52:54:00:00:00:02"),
            "{error}"
        );

        let dark = [link("eth0", 1, false)];
        assert!(choose(&dark, &Interface::Auto, true).is_err());
        assert_eq!(choose(&dark, &Interface::Auto, false).unwrap().name, "eth0");
        assert!(
            choose(&[], &Interface::Auto, false)
                .unwrap_err()
                .contains("no Ethernet")
        );
    }
}
