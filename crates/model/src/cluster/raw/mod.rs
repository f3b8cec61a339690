//! The mirror of cluster.yaml: what the file says, with the place of each value. Nothing is proven
//! yet but its type. Each mapping is declared once, for the reader and for the JSON Schema; the
//! comments here are the descriptions that an editor shows.

pub(super) mod links;
pub(super) mod read;
pub(super) mod values;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use self::links::RawLinks;
use self::read::{Field, Located, MappingReader, Named, OneOrMany, Read, raw_mapping, wrong_type};
use self::values::{Address, AddressRange, AddressWithPrefix, Digest, Mac, Size, Span, Variables};
use super::diagnostics::Problems;
use super::tree::{Node, Value};
use super::{DhcpMode, UnknownPolicy};
use crate::boot::FirmwareClass;
use crate::desired::{
    AfterInstall, BootOrder, ConfigApplier, InstallPolicy, Preference, WipePolicy,
};

raw_mapping! {
    /// A cluster: its network, its images, what its machines become.
    pub(crate) struct RawCluster {
        /// Version of this file's form: 1.
        #[schemars(required, extend("const" = 1))]
        version: u64,
        /// The cluster's names.
        #[schemars(required)]
        cluster: RawNames,
        /// The provisioning network and what is served on it.
        #[schemars(required)]
        network: RawNetwork,
        /// OS images, by name.
        images: Named<RawImage>,
        /// What machines become, by name.
        profiles: Named<RawProfile>,
        /// The declared machines.
        machines: Vec<Located<RawMachine>>,
        /// What happens to a machine that is not declared.
        #[schemars(extend("default" = "discover"))]
        unknown: UnknownPolicy,
        /// Readiness checks that the appliance makes on running machines.
        checks: Vec<Located<RawCheck>>,
    }
}

raw_mapping! {
    /// The cluster's names.
    pub(crate) struct RawNames {
        /// The cluster's name: lower-case letters, digits and hyphens.
        #[schemars(required)]
        name: String,
        /// The zone that the appliance's DNS answers for. Default: the name with `.internal`.
        domain: String,
    }
}

raw_mapping! {
    /// The provisioning network and what is served on it.
    pub(crate) struct RawNetwork {
        /// The appliance's own address on the provisioning network, as 10.77.0.1/24.
        #[schemars(required)]
        address: AddressWithPrefix,
        /// The appliance's interface: `auto` (the first Ethernet interface with a carrier), a name, or {mac: …}.
        #[schemars(extend("default" = "auto"))]
        interface: RawInterface,
        /// How addresses and boot files are given.
        dhcp: RawDhcp,
        /// Default router of the machines; none if it is left out.
        gateway: Address,
        /// Time servers of the machines: `appliance` or addresses.
        #[schemars(extend("default" = "appliance"))]
        ntp: OneOrMany<RawTimeServer>,
        /// Name resolution.
        dns: RawDns,
        /// Networks behind relay agents that are served, too.
        subnets: Vec<Located<RawSubnet>>,
        /// Boot files by firmware, in the order in which they are tried on a machine.
        boot_files: RawBootFiles,
    }
}

raw_mapping! {
    /// A network behind a relay agent.
    pub(crate) struct RawSubnet {
        /// The network, as 10.78.0.0/24.
        #[schemars(required)]
        network: AddressWithPrefix,
        /// Default router of its machines, through which they reach the appliance.
        #[schemars(required)]
        gateway: Address,
        /// First and last address for machines that are not declared; without it they get none.
        pool: AddressRange,
        /// For how long an address is lent; as `network.dhcp.lease` if it is left out.
        lease: Span,
    }
}

raw_mapping! {
    /// How addresses and boot files are given.
    pub(crate) struct RawDhcp {
        /// `auto`: look for another DHCP server first, then be `server` or `proxy`.
        #[schemars(extend("default" = "auto"))]
        mode: DhcpMode,
        /// First and last address for machines that are not declared; without it they get none.
        pool: AddressRange,
        /// For how long an address is lent: from 60s to 365d.
        #[schemars(extend("default" = "1h"))]
        lease: Span,
    }
}

raw_mapping! {
    /// Name resolution.
    pub(crate) struct RawDns {
        /// Servers for names outside the cluster's zone; without any these names are refused.
        upstream: OneOrMany<Address>,
    }
}

raw_mapping! {
    /// An OS image: a whole disk, raw or compressed (`.zst`, `.gz`, `.xz`, `.bz2`).
    pub(crate) struct RawImage {
        /// A file in the image folder of the appliance. Either this or `url`.
        file: String,
        /// An http URL that the machines can reach. Either this or `file`.
        url: String,
        /// SHA-256 of the file as it is (compressed), as `sha256sum` prints it.
        #[schemars(required)]
        sha256: Digest,
        /// Who applies the Ignition config.
        #[schemars(extend("default" = "agent"))]
        config: ConfigApplier,
    }
}

raw_mapping! {
    /// What machines become.
    pub(crate) struct RawProfile {
        /// Name of an image.
        #[schemars(required)]
        image: String,
        /// Which disk is written. Every given property has to hold; several fitting disks are a refusal.
        disk: RawDisk,
        /// What may happen to a disk that is not blank.
        #[schemars(extend("default" = "never"))]
        wipe: WipePolicy,
        /// When an installation begins: by itself, or when the operator has armed the machine (`hardway arm`).
        #[schemars(extend("default" = "automatic"))]
        install: InstallPolicy,
        /// Whether its machines boot under Secure Boot: by the distribution's signed shim, GRUB and kernel.
        #[schemars(extend("default" = false))]
        secure_boot: bool,
        /// How control passes to the installed system.
        #[schemars(extend("default" = "kexec"))]
        after_install: AfterInstall,
        /// Whether everything that was written is read back from the disk and compared before it boots.
        #[schemars(extend("default" = true))]
        read_back: bool,
        /// Bonds, VLANs, bridges, addresses and MTUs of the installed system; the image's own affair if it
        /// is left out.
        network: RawLinks,
        /// What UEFI firmware is to start first; its boot entries and their order are set, and set back.
        #[schemars(extend("default" = "network-first"))]
        boot_order: BootOrder,
        /// Kernel arguments of the installed system.
        kernel_arguments: Vec<Located<String>>,
        /// Butane (`.bu`) or Ignition (`.ign`, `.json`) files beside this file, templates, merged in this order.
        config: Vec<Located<String>>,
        /// Variables for the templates.
        vars: Variables,
    }
}

raw_mapping! {
    /// Which disk is written. Every given property has to hold.
    pub(crate) struct RawDisk {
        /// Device node, as /dev/nvme0n1, which may change between boots; or a link that udev makes, as
        /// /dev/disk/by-id/…, which does not.
        path: String,
        /// Exact serial number.
        serial: String,
        /// Exact world-wide name.
        wwn: String,
        /// Exact model.
        model: String,
        /// At least this large, as 4GiB.
        min_size: Size,
        /// At most this large.
        max_size: Size,
        /// Whether it spins.
        rotational: bool,
        /// nvme, virtio, sata, scsi, …
        transport: String,
        /// Which one is taken where several fit.
        prefer: Preference,
    }
}

raw_mapping! {
    /// A declared machine.
    pub(crate) struct RawMachine {
        /// Its name and host name.
        #[schemars(required)]
        name: String,
        /// How it is recognised: any one of these is enough.
        #[schemars(required)]
        r#match: RawMatch,
        /// Name of a profile.
        #[schemars(required)]
        profile: String,
        /// Its address, inside one of the networks and outside the pools.
        address: Address,
        /// Its addresses on further links of its profile, by the link's name: those with a `subnet`.
        addresses: Named<Address>,
        /// Variables for the templates, over the profile's.
        vars: Variables,
        /// Its baseboard management controller.
        bmc: RawBmc,
    }
}

raw_mapping! {
    /// How a machine is recognised: any one of these is enough.
    pub(crate) struct RawMatch {
        /// One hardware address or several.
        mac: OneOrMany<Mac>,
        /// SMBIOS serial number.
        serial: String,
        /// SMBIOS UUID.
        uuid: String,
    }
}

raw_mapping! {
    /// A baseboard management controller. Kept for later: this version does not speak to it.
    pub(crate) struct RawBmc {
        /// Its address.
        #[schemars(required)]
        address: Address,
        /// Its protocol, as `redfish`.
        #[schemars(required)]
        kind: String,
        /// Name of the stored credentials.
        credentials: String,
    }
}

raw_mapping! {
    /// A readiness check: an HTTP GET by the appliance that has to answer 2xx.
    pub(crate) struct RawCheck {
        /// Its name.
        #[schemars(required)]
        name: String,
        /// The profile whose machines are asked.
        #[schemars(required)]
        profile: String,
        /// URL, a template, as http://{{ machine.address }}:2379/health.
        #[schemars(required)]
        http: String,
        /// What the body has to contain.
        contains: String,
    }
}

/// `auto`, a name, or `{mac: …}`.
#[derive(Debug, Clone)]
pub(super) enum RawInterface {
    /// A word: `auto` or a name.
    Word(String),
    /// By hardware address.
    By(RawInterfaceMatch),
}

raw_mapping! {
    /// An interface by its hardware address.
    pub(crate) struct RawInterfaceMatch {
        /// Hardware address.
        #[schemars(required)]
        mac: Mac,
    }
}

impl Read for RawInterface {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => RawInterfaceMatch::read(node, path, problems).map(Self::By),
            Value::Text(word) => Some(Self::Word(word.clone())),
            _ => {
                let help = "write `auto`, a name such as `eth0`, or `{mac: \"52:54:00:00:00:01\"}`";
                wrong_type(node, path, "an interface", help, problems);
                None
            }
        }
    }
}

impl JsonSchema for RawInterface {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Interface".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let by = generator.subschema_for::<RawInterfaceMatch>();
        json_schema!({"anyOf": [{"type": "string"}, by]})
    }
}

/// `appliance` or an address.
#[derive(Debug, Clone, Copy)]
pub(super) enum RawTimeServer {
    /// The appliance itself.
    Appliance,
    /// Another server.
    Address(Address),
}

impl Read for RawTimeServer {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "appliance" => Some(Self::Appliance),
            Value::Text(word) if word.parse::<std::net::Ipv4Addr>().is_err() => {
                let message = format!("`{word}` is not a time server");
                let help = "write `appliance`, or IPv4 addresses";
                problems.add(node.place, path, message, help);
                None
            }
            _ => Address::read(node, path, problems).map(Self::Address),
        }
    }
}

impl JsonSchema for RawTimeServer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeServer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<Address>();
        json_schema!({"anyOf": [{"const": "appliance"}, address]})
    }
}

/// Lists of boot files by firmware. The keys have hyphens, as architectures have everywhere else.
#[derive(Debug, Clone)]
pub(super) struct RawBootFiles(pub Vec<(FirmwareClass, Located<OneOrMany<String>>)>);

impl Read for RawBootFiles {
    fn read(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let reader = MappingReader::new(
            node,
            path,
            &FirmwareClass::ALL.map(FirmwareClass::name),
            problems,
        )?;
        let given = |class: FirmwareClass| match reader.field(class.name(), problems) {
            Field::Given(files) => Some((class, files)),
            Field::Absent | Field::Wrong => None,
        };
        Some(Self(
            FirmwareClass::ALL.into_iter().filter_map(given).collect(),
        ))
    }
}

impl JsonSchema for RawBootFiles {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BootFiles".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let files = generator.subschema_for::<OneOrMany<String>>();
        let property = |class: FirmwareClass| {
            let mut schema = files.clone();
            schema.insert(
                "description".into(),
                format!("{}.", class.in_words()).into(),
            );
            (class.name().to_owned(), schema.to_value())
        };
        let properties: serde_json::Map<String, serde_json::Value> =
            FirmwareClass::ALL.map(property).into_iter().collect();
        json_schema!({
            "description": "Boot files by firmware, in the order in which they are tried on a machine.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}
