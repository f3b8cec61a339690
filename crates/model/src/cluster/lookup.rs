//! Questions to a proven cluster.

use std::fmt;
use std::net::Ipv4Addr;

use super::{Cluster, Image, ImageSource, Machine, Network, Profile, Subnet};
use crate::desired::{Compression, DesiredImage, DesiredMachine};
use crate::identity::{Identity, Sha256, is_telling};

impl Cluster {
    /// The declared machine of this name.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The image of this name.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    /// Every declared machine of a profile, in the file's order.
    pub fn machines_of<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = &'a Machine> {
        self.machines
            .iter()
            .filter(move |machine| machine.profile == profile)
    }

    /// The declared machine that this hardware is: by any MAC, else by serial, else by UUID.
    ///
    /// The first kind of evidence that names a machine decides. Evidence that names several machines
    /// names none, and an all-zero or all-one UUID is no evidence: two machines are never merged.
    pub fn identify(&self, identity: &Identity) -> Option<&Machine> {
        let by_mac = |machine: &Machine| {
            let known = &machine.matches.macs;
            identity.macs.iter().any(|mac| known.contains(mac))
        };
        let by_serial =
            |machine: &Machine| same(machine.matches.serial.as_deref(), &identity.serial);
        let uuid = identity
            .uuid
            .as_ref()
            .map(|uuid| uuid.to_lowercase())
            .filter(|uuid| is_telling(uuid));
        let by_uuid = |machine: &Machine| same(machine.matches.uuid.as_deref(), &uuid);

        match self.only(by_mac) {
            Found::None => {}
            found => return found.one(),
        }
        match self.only(by_serial) {
            Found::None => {}
            found => return found.one(),
        }
        self.only(by_uuid).one()
    }

    fn only(&self, fits: impl Fn(&Machine) -> bool) -> Found<'_> {
        let mut fitting = self.machines.iter().filter(|machine| fits(machine));
        match (fitting.next(), fitting.next()) {
            (None, _) => Found::None,
            (Some(machine), None) => Found::One(machine),
            (Some(_), Some(_)) => Found::Several,
        }
    }

    /// What a machine is to become. `config` is the digest of its rendered configuration.
    ///
    /// `None` only for a machine that is not of this cluster.
    pub fn desired(&self, machine: &Machine, config: Sha256) -> Option<DesiredMachine> {
        let profile = self.profile(&machine.profile)?;
        let image = self.image(&profile.image)?;
        Some(DesiredMachine {
            cluster: self.name.clone(),
            machine: machine.name.clone(),
            profile: profile.name.clone(),
            image: image.desired(),
            disk: profile.disk.clone(),
            wipe: profile.wipe,
            install: profile.install,
            after_install: profile.after_install,
            read_back: profile.read_back,
            boot_order: profile.boot_order,
            kernel_arguments: profile.kernel_arguments.clone(),
            config,
        })
    }
}

enum Found<'a> {
    None,
    One(&'a Machine),
    Several,
}

impl<'a> Found<'a> {
    fn one(self) -> Option<&'a Machine> {
        match self {
            Self::One(machine) => Some(machine),
            Self::None | Self::Several => None,
        }
    }
}

fn same(declared: Option<&str>, seen: &Option<String>) -> bool {
    declared.is_some() && declared == seen.as_deref()
}

impl Image {
    /// The image as the agent gets it: a file is served by the appliance below `/images/`.
    pub fn desired(&self) -> DesiredImage {
        let url = match &self.source {
            ImageSource::File(file) => format!("/images/{file}"),
            ImageSource::Url(url) => url.clone(),
        };
        DesiredImage {
            name: self.name.clone(),
            compression: Compression::of_file_name(
                url.split(['?', '#']).next().unwrap_or_default(),
            ),
            url,
            sha256: self.sha256,
            imported: None,
            config: self.config,
        }
    }
}

impl Network {
    /// The provisioning network's mask, as 255.255.255.0.
    pub fn netmask(&self) -> Ipv4Addr {
        mask(self.prefix)
    }

    /// The provisioning network's own address, its lowest.
    pub fn network_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & u32::from(self.netmask()))
    }

    /// The provisioning network's highest address.
    pub fn broadcast(&self) -> Ipv4Addr {
        self.own().broadcast()
    }

    /// Whether an address lies in the provisioning network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.own().contains(address)
    }

    /// Whether an address lies in the provisioning network's pool for machines that are not declared.
    pub fn pool_contains(&self, address: Ipv4Addr) -> bool {
        self.own().pool_contains(address)
    }

    /// The provisioning network by itself, as those behind relays are.
    pub fn own(&self) -> Subnet {
        Subnet {
            network: self.network_address(),
            prefix: self.prefix,
            pool: self.pool,
            gateway: self.gateway,
            lease: self.lease,
        }
    }

    /// Every network that is served: the provisioning network, then those behind relays, in the
    /// file's order. No two overlap.
    pub fn networks(&self) -> impl Iterator<Item = Subnet> {
        std::iter::once(self.own()).chain(self.subnets.iter().copied())
    }

    /// The served network that an address belongs to.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<Subnet> {
        self.networks().find(|network| network.contains(address))
    }
}

impl Subnet {
    /// The network's mask, as 255.255.255.0.
    pub fn netmask(&self) -> Ipv4Addr {
        mask(self.prefix)
    }

    /// The network's highest address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | !u32::from(self.netmask()))
    }

    /// Whether an address lies in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.netmask()) == u32::from(self.network)
    }

    /// Whether a host of the network can have the address: it is neither the network's own nor the
    /// one for broadcasts.
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.network && address != self.broadcast()
    }

    /// Whether an address lies in the pool for machines that are not declared.
    pub fn pool_contains(&self, address: Ipv4Addr) -> bool {
        self.pool
            .is_some_and(|(first, last)| (first..=last).contains(&address))
    }
}

/// As 10.78.0.0/24.
impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask(prefix: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(u32::from(prefix));
    Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}
