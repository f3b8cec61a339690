//! The one oracle: what a client should get. DHCP, TFTP and iPXE ask it, so that they cannot
//! disagree about a machine.

use std::fmt;

use hardway_model::boot::{AGENT_IMAGE, Asker, BootHistory, FirmwareClass, LOCAL_DISK, SHIM};
use hardway_model::cluster::{Cluster, Machine, UnknownPolicy};
use hardway_model::identity::Identity;
use hardway_model::inventory::Firmware;
use hardway_model::lifecycle::MachineState;

/// Who asks, and with what program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What the request tells of the machine.
    pub identity: Identity,
    /// What speaks.
    pub program: Program,
}

/// The program on a machine that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// No network boot: an operating system, or the agent, that wants an address.
    OperatingSystem,
    /// The firmware's PXE stack (option 60 begins with `PXEClient`).
    Pxe(Architecture),
    /// The firmware's HTTP Boot (option 60 begins with `HTTPClient`).
    HttpBoot(Architecture),
    /// iPXE asking by DHCP (user class `iPXE`, or option 175).
    Ipxe(Architecture),
    /// iPXE asking for its script by HTTP.
    IpxeScript {
        /// By `${platform}`.
        firmware: Firmware,
        /// What was picked in the menu before.
        choice: Option<Choice>,
    },
}

/// An item of the menu for undeclared machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Start the agent for its inventory.
    Discover,
    /// Start the machine's own disk.
    LocalDisk,
}

/// A client's system architecture: option 93, RFC 4578 section 2.1, numbers by IANA's registry
/// "Processor Architecture Types".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture(pub u16);

impl Architecture {
    /// `x86 BIOS`.
    pub const BIOS: Self = Self(0);
    /// `x64 UEFI` by the registry's erratum, and what edk2 sends.
    pub const UEFI_X64: Self = Self(7);
    /// Registered as `EBC`; firmware that follows RFC 4578 to the letter means x64 by it.
    pub const UEFI_X64_BY_RFC: Self = Self(9);
    /// `x64 UEFI boot from HTTP`.
    pub const UEFI_X64_HTTP: Self = Self(16);

    /// `arm64 UEFI`.
    pub const UEFI_ARM64: Self = Self(11);
    /// `arm64 UEFI boot from HTTP`.
    pub const UEFI_ARM64_HTTP: Self = Self(19);

    /// The class of firmware whose boot files it gets, asked for by PXE or, with `http`, by HTTP Boot.
    pub fn class(self, http: bool) -> Option<FirmwareClass> {
        match (self, http) {
            (Self::BIOS, false) => Some(FirmwareClass::Bios),
            (Self::UEFI_X64 | Self::UEFI_X64_BY_RFC, false) => Some(FirmwareClass::UefiX64),
            (Self::UEFI_X64 | Self::UEFI_X64_BY_RFC | Self::UEFI_X64_HTTP, _) => {
                Some(FirmwareClass::UefiX64Http)
            }
            (Self::UEFI_ARM64, false) => Some(FirmwareClass::UefiArm64),
            (Self::UEFI_ARM64 | Self::UEFI_ARM64_HTTP, _) => Some(FirmwareClass::UefiArm64Http),
            _ => None,
        }
    }
}

impl Program {
    /// Why it asks, for the machine's timeline and history.
    pub fn asker(self) -> Asker {
        match self {
            Self::OperatingSystem => Asker::System,
            Self::Pxe(architecture) => Asker::Firmware {
                class: architecture.class(false),
            },
            Self::HttpBoot(architecture) => Asker::Firmware {
                class: architecture.class(true),
            },
            Self::Ipxe(_) | Self::IpxeScript { .. } => Asker::Ipxe,
        }
    }
}

/// What a client should get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An address, and nothing to boot.
    AddressOnly(Reason),
    /// An address, and a boot file by TFTP, by its name in the payload's `boot` folder.
    BootFile(String),
    /// An address, and the URL of a boot file, which is made of its name.
    HttpBootFile(String),
    /// An address, and the URL of `/boot.ipxe`, which leads to a script.
    ScriptUrl,
    /// A script.
    Script(Script),
    /// No answer at all.
    Silence(Reason),
}

/// Which script iPXE is given; see [`crate::ipxe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Start the agent: its plan says what is done.
    Agent,
    /// Start the machine's own disk.
    LocalDisk(Firmware),
    /// Let a person choose.
    Menu,
}

/// Why a client gets nothing to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It does not boot from the network.
    NotBooting,
    /// `unknown: ignore`, and nothing in cluster.yaml matches it.
    UnknownIgnored,
    /// There is no boot file for its architecture.
    NoBootFile(Architecture),
    /// Its profile wants Secure Boot, whose signed boot files go by PXE only.
    SecureBootNeedsPxe,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBooting => write!(f, "it does not boot from the network"),
            Self::UnknownIgnored => {
                write!(
                    f,
                    "no machine in cluster.yaml matches it, and `unknown` is `ignore`"
                )
            }
            Self::NoBootFile(Architecture(number)) => write!(
                f,
                "there is no boot file for architecture {number}: only x86-64 BIOS (0), \
                 x86-64 UEFI (7, 9, 16) and arm64 UEFI (11, 19) can be booted"
            ),
            Self::SecureBootNeedsPxe => write!(
                f,
                "its profile has `secure_boot: true`, and signed boot files are given by PXE only, not \
                 by HTTP Boot"
            ),
        }
    }
}

/// What happens to a machine, whatever program asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Agent,
    LocalDisk,
    Menu,
    Ignore,
}

/// Decides what `client` gets. `machine` is the declared machine that it was recognised as.
pub fn answer(
    client: &Client,
    cluster: &Cluster,
    machine: Option<(&Machine, &MachineState)>,
) -> Answer {
    let history = machine.map(|(_, state)| &state.boot);
    answer_with(client, cluster, machine, history)
}

/// As [`answer`], for a client whose history is known though it may not be declared.
pub fn answer_with(
    client: &Client,
    cluster: &Cluster,
    machine: Option<(&Machine, &MachineState)>,
    history: Option<&BootHistory>,
) -> Answer {
    let course = course(cluster, machine);
    let offer = |class| {
        let files = candidates(course, class, cluster, machine);
        match history {
            Some(history) => history.choose(&files).map(str::to_owned),
            None => files.first().cloned(),
        }
    };
    match client.program {
        Program::OperatingSystem => Answer::AddressOnly(Reason::NotBooting),
        Program::IpxeScript { firmware, choice } => script(course, firmware, choice),
        Program::Pxe(_) | Program::HttpBoot(_) | Program::Ipxe(_) if course == Course::Ignore => {
            Answer::AddressOnly(Reason::UnknownIgnored)
        }
        // iPXE of any architecture is asked again when it fetches its script.
        Program::Ipxe(_) => Answer::ScriptUrl,
        Program::Pxe(architecture) => match architecture.class(false).and_then(offer) {
            Some(file) => Answer::BootFile(file),
            None => Answer::AddressOnly(Reason::NoBootFile(architecture)),
        },
        // The signed GRUB speaks TFTP only. Without a file, firmware goes on to PXE.
        Program::HttpBoot(_) if boots_securely(cluster, machine) => {
            Answer::AddressOnly(Reason::SecureBootNeedsPxe)
        }
        Program::HttpBoot(architecture) => match architecture.class(true).and_then(offer) {
            Some(file) => Answer::HttpBootFile(file),
            None => Answer::AddressOnly(Reason::NoBootFile(architecture)),
        },
    }
}

fn course(cluster: &Cluster, machine: Option<(&Machine, &MachineState)>) -> Course {
    match (machine, cluster.unknown) {
        (Some((_, state)), _) if state.wants_install() => Course::Agent,
        (Some(_), _) | (None, UnknownPolicy::LocalDisk) => Course::LocalDisk,
        (None, UnknownPolicy::Discover) => Course::Agent,
        (None, UnknownPolicy::Menu) => Course::Menu,
        (None, UnknownPolicy::Ignore) => Course::Ignore,
    }
}

/// The boot files that bring a client to its course, in the order in which they are tried.
///
/// BIOS always gets iPXE, whose `sanboot` reaches every disk; UEFI is sent to its disk at once,
/// because leaving out the boot file costs OVMF minutes. Under Secure Boot both courses begin with the
/// signed shim, and GRUB's script tells them apart.
fn candidates(
    course: Course,
    class: FirmwareClass,
    cluster: &Cluster,
    machine: Option<(&Machine, &MachineState)>,
) -> Vec<String> {
    if class == FirmwareClass::UefiX64 && boots_securely(cluster, machine) {
        return vec![SHIM.to_owned()];
    }
    let is_x64 = matches!(class, FirmwareClass::UefiX64 | FirmwareClass::UefiX64Http);
    if course == Course::LocalDisk && is_x64 {
        return vec![LOCAL_DISK.to_owned()];
    }
    let mut files = cluster.network.boot_files.of(class).to_vec();
    if course == Course::Menu {
        // The menu is iPXE's; the agent's own image would start without asking.
        files.retain(|file| file != AGENT_IMAGE);
    }
    files
}

fn boots_securely(cluster: &Cluster, machine: Option<(&Machine, &MachineState)>) -> bool {
    let profile = machine.and_then(|(machine, _)| cluster.profile(&machine.profile));
    profile.is_some_and(|profile| profile.secure_boot)
}

fn script(course: Course, firmware: Firmware, choice: Option<Choice>) -> Answer {
    match (course, choice) {
        (Course::Agent, _) | (Course::Menu, Some(Choice::Discover)) => {
            Answer::Script(Script::Agent)
        }
        (Course::LocalDisk, _) | (Course::Menu, Some(Choice::LocalDisk)) => {
            Answer::Script(Script::LocalDisk(firmware))
        }
        (Course::Menu, None) => Answer::Script(Script::Menu),
        (Course::Ignore, _) => Answer::Silence(Reason::UnknownIgnored),
    }
}

#[cfg(test)]
mod tests;
