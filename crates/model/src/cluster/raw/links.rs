//! The mirror of a profile's `network:`.

use super::read::{Located, Named, raw_mapping};
use super::values::AddressWithPrefix;
use crate::cluster::Addressing;
use crate::network::BondMode;

raw_mapping! {
    /// The network of the installed system. Ports are called `port1`, `port2` and so on, by their
    /// machine's `match.mac`; what is not named here is left to the image.
    pub(crate) struct RawLinks {
        /// MTU of every link that does not say its own.
        mtu: u64,
        /// How the link that port1 belongs to gets its address, where no link has an `address` of its
        /// own: `dhcp`, `static` (the machine's `address`) or `none`.
        #[schemars(extend("default" = "dhcp"))]
        address: Addressing,
        /// Ports that are to be set up beside those of bonds, VLANs and bridges: port1, port2, …
        ports: Named<RawPort>,
        /// Several ports that act as one, by the name that the bond gets.
        bonds: Named<RawBond>,
        /// VLANs, by the name that the link gets.
        vlans: Named<RawVlan>,
        /// Switches in software, by the name that the bridge gets.
        bridges: Named<RawBridge>,
        /// What the agent uses while it installs: `port` (the one that booted, as it is), or the name of
        /// a bond or a VLAN.
        #[schemars(extend("default" = "port"))]
        agent: String,
    }
}

raw_mapping! {
    /// A network card's port.
    pub(crate) struct RawPort {
        /// Bytes of a packet, from 1280.
        mtu: u64,
        /// `dhcp`, `static` (the machine's `address`) or `none`.
        address: Addressing,
        /// A network in which each machine has an address of its own, under `addresses`.
        subnet: AddressWithPrefix,
    }
}

raw_mapping! {
    /// Several ports that act as one.
    pub(crate) struct RawBond {
        /// `active-backup`: one carries everything until it fails; `lacp`: as agreed with the switch.
        #[schemars(required)]
        mode: BondMode,
        /// Its ports; all of the machine's if it is left out.
        ports: Vec<Located<String>>,
        /// Bytes of a packet, from 1280; its ports get the same.
        mtu: u64,
        /// `dhcp`, `static` (the machine's `address`) or `none`.
        address: Addressing,
        /// A network in which each machine has an address of its own, under `addresses`.
        subnet: AddressWithPrefix,
    }
}

raw_mapping! {
    /// A VLAN.
    pub(crate) struct RawVlan {
        /// Its number, from 1 to 4094.
        #[schemars(required)]
        id: u64,
        /// The port, bond or bridge whose frames it tags.
        #[schemars(required)]
        link: String,
        /// Bytes of a packet, from 1280; as the link below it if it is left out.
        mtu: u64,
        /// `dhcp`, `static` (the machine's `address`) or `none`.
        address: Addressing,
        /// A network in which each machine has an address of its own, under `addresses`.
        subnet: AddressWithPrefix,
    }
}

raw_mapping! {
    /// A switch in software.
    pub(crate) struct RawBridge {
        /// The ports, bonds and VLANs that it connects.
        #[schemars(required)]
        ports: Vec<Located<String>>,
        /// Bytes of a packet, from 1280.
        mtu: u64,
        /// `dhcp`, `static` (the machine's `address`) or `none`.
        address: Addressing,
        /// A network in which each machine has an address of its own, under `addresses`.
        subnet: AddressWithPrefix,
    }
}
