//! `cluster.yaml`: the one file an operator writes.
//!
//! [`Cluster`] is proven: every reference resolves, every address lies in its network, every name is
//! unique. It is made by [`parse`], which collects every problem of the file.
//!
//! | module | what it does |
//! | --- | --- |
//! | `tree` | text → tree of values, each with its place |
//! | `raw` | tree → mirror of the file, where every value has its place and may be missing |
//! | `prove` | mirror → [`Cluster`] |
//! | [`diagnostics`] | how a problem is told |
//! | `lookup` | questions to a [`Cluster`] |
//! | [`links`] | a profile's links, and what they come to on one machine |
//! | [`template`] | config parts, rendered for one machine |

use std::net::Ipv4Addr;
use std::time::Duration;

use self::diagnostics::Problems;
pub use self::diagnostics::{Diagnostics, Problem};
pub use self::links::Addressing;
use self::links::Links;
use self::raw::RawCluster;
use self::raw::read::Located;
pub use self::template::TemplateError;

use crate::boot::BootFiles;
use crate::desired::{
    AfterInstall, BootOrder, ConfigApplier, DiskSelector, InstallPolicy, WipePolicy,
};
use crate::identity::{MacAddress, Sha256};

pub mod diagnostics;
pub mod links;
mod lookup;
mod prove;
mod raw;
pub mod template;
mod tree;

/// Reads a cluster.yaml. `file_name` is what problems are shown under.
///
/// # Errors
/// Every problem of the file at once; its `Display` is the text for the operator.
pub fn parse(text: &str, file_name: &str) -> Result<Cluster, Diagnostics> {
    let mut problems = Problems::new(text);
    let cluster = tree::read(text, &mut problems)
        .and_then(|node| Located::<RawCluster>::read(&node, String::new(), &mut problems))
        .and_then(|raw| prove::cluster(&raw, &mut problems));
    problems.finish(file_name, cluster)
}

/// The JSON Schema of cluster.yaml, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(RawCluster).to_value()
}

/// The whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// The zone that the appliance's DNS answers for, without a trailing dot.
    pub domain: String,
    /// The provisioning network.
    pub network: Network,
    /// OS images, in the file's order.
    pub images: Vec<Image>,
    /// Profiles, in the file's order.
    pub profiles: Vec<Profile>,
    /// Declared machines, in the file's order.
    pub machines: Vec<Machine>,
    /// What happens to a machine that nothing matches.
    pub unknown: UnknownPolicy,
    /// Readiness checks.
    pub checks: Vec<Check>,
}

/// The provisioning network and what is served on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The appliance's own address.
    pub address: Ipv4Addr,
    /// Prefix length of the network, 1 to 30.
    pub prefix: u8,
    /// Which interface of the appliance.
    pub interface: Interface,
    /// Whether and how DHCP is served.
    pub dhcp: DhcpMode,
    /// First and last address for machines that are not declared.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Lease time.
    pub lease: Duration,
    /// Default router for the machines.
    pub gateway: Option<Ipv4Addr>,
    /// NTP servers for the machines; the appliance's own address for `appliance`.
    pub ntp: Vec<Ipv4Addr>,
    /// Where DNS questions outside the zone go; empty: they are refused.
    pub dns_upstream: Vec<Ipv4Addr>,
    /// Networks behind relay agents that are served, too.
    pub subnets: Vec<Subnet>,
    /// Boot files by firmware.
    pub boot_files: BootFiles,
}

/// A network whose machines are served: one behind a relay agent, or the provisioning network itself
/// as [`Network::own`] gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The network's own address, its lowest.
    pub network: Ipv4Addr,
    /// Its prefix length, 1 to 30.
    pub prefix: u8,
    /// First and last address for machines that are not declared.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Default router for its machines.
    pub gateway: Option<Ipv4Addr>,
    /// Lease time; the provisioning network's where it is not given.
    pub lease: Duration,
}

/// How the appliance's interface is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// The first Ethernet interface with a carrier, by name.
    Auto,
    /// By kernel name.
    Name(String),
    /// By hardware address.
    Mac(MacAddress),
}

/// Whether and how DHCP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum DhcpMode {
    /// Look for another server first, then be `Server` or `Proxy`.
    Auto,
    /// Give addresses and boot files.
    Server,
    /// Give boot files beside a server that gives the addresses.
    Proxy,
    /// Nothing.
    Off,
}

/// An OS image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub source: ImageSource,
    /// SHA-256 of the file as it is kept (compressed).
    pub sha256: Sha256,
    /// Who applies the Ignition config.
    pub config: ConfigApplier,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A file name in the image folder of the appliance.
    File(String),
    /// An http URL that the machines can reach.
    Url(String),
}

/// What machines become.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Name of an image in [`Cluster::images`].
    pub image: String,
    /// Which disk is written.
    pub disk: DiskSelector,
    /// What may happen to a disk that is not blank.
    pub wipe: WipePolicy,
    /// Whether an installation begins by itself.
    pub install: InstallPolicy,
    /// Whether its machines boot under Secure Boot: by the distribution's signed shim, GRUB and kernel.
    pub secure_boot: bool,
    /// How control passes to the installed system.
    pub after_install: AfterInstall,
    /// Whether everything that was written is read back from the disk and compared.
    pub read_back: bool,
    /// The installed system's network; `None`: the image's own affair.
    pub network: Option<Links>,
    /// What UEFI firmware is to start first.
    pub boot_order: BootOrder,
    /// Kernel arguments of the installed system.
    pub kernel_arguments: Vec<String>,
    /// Config parts in merge order: paths relative to cluster.yaml, `.bu`, `.ign` or `.json`.
    pub config: Vec<String>,
    /// Variables for templates.
    pub vars: serde_json::Map<String, serde_json::Value>,
}

/// One declared machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name and host name.
    pub name: String,
    /// How it is recognised: any one of these is enough.
    pub matches: Match,
    /// Name of a profile in [`Cluster::profiles`].
    pub profile: String,
    /// Its reserved address.
    pub address: Option<Ipv4Addr>,
    /// Its addresses on links that have a subnet of their own, by the link's name.
    pub addresses: Vec<(String, Ipv4Addr)>,
    /// Variables for templates, over the profile's.
    pub vars: serde_json::Map<String, serde_json::Value>,
    /// Its baseboard management controller; kept, and not spoken to yet.
    pub bmc: Option<Bmc>,
}

/// A baseboard management controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmc {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its protocol, as `redfish`.
    pub kind: String,
    /// Name of the stored credentials.
    pub credentials: Option<String>,
}

/// How a machine is recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Any of these hardware addresses.
    pub macs: Vec<MacAddress>,
    /// SMBIOS serial number.
    pub serial: Option<String>,
    /// SMBIOS UUID, lower case.
    pub uuid: Option<String>,
}

/// What happens to a machine that nothing matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum UnknownPolicy {
    /// Start the agent for its inventory only, and hold.
    #[default]
    Discover,
    /// A menu on its screen.
    Menu,
    /// Sent on to its own disk.
    LocalDisk,
    /// No boot file.
    Ignore,
}

/// A readiness check: an HTTP GET by the appliance that has to answer 2xx.
///
/// ```yaml
/// checks:
///   - name: etcd
///     profile: etcd
///     http: "http://{{ machine.address }}:2379/health"
///     contains: '"health":"true"'
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The profile whose machines are asked.
    pub profile: String,
    /// URL, a template over `machine`.
    pub http: String,
    /// What the body has to contain.
    pub contains: Option<String>,
}
