//! How firmware is brought to the agent: which boot files there are for it, which of them works on a
//! machine, and what went wrong on the way.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lifecycle::Timestamp;

/// Firmware that one list of boot files is for. The names are the keys of `network.boot_files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cluster", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareClass {
    /// PXE of a BIOS (architecture 0).
    Bios,
    /// PXE of UEFI on x86-64 (7, and 9 by the letter of RFC 4578).
    UefiX64,
    /// HTTP Boot of UEFI on x86-64 (16).
    UefiX64Http,
    /// PXE of UEFI on arm64 (11).
    UefiArm64,
    /// HTTP Boot of UEFI on arm64 (19).
    UefiArm64Http,
}

impl FirmwareClass {
    /// Every class.
    pub const ALL: [Self; 5] = [
        Self::Bios,
        Self::UefiX64,
        Self::UefiX64Http,
        Self::UefiArm64,
        Self::UefiArm64Http,
    ];

    /// As cluster.yaml spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::UefiX64 => "uefi-x64",
            Self::UefiX64Http => "uefi-x64-http",
            Self::UefiArm64 => "uefi-arm64",
            Self::UefiArm64Http => "uefi-arm64-http",
        }
    }
}

impl fmt::Display for FirmwareClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The boot files of each class of firmware, in the order in which they are tried on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles(pub BTreeMap<FirmwareClass, Vec<String>>);

impl BootFiles {
    /// The files for a class; none where it cannot be booted.
    pub fn of(&self, class: FirmwareClass) -> &[String] {
        self.0.get(&class).map_or(&[], Vec::as_slice)
    }
}

/// The agent as a unified kernel image, made for the machine that asks.
pub const AGENT_IMAGE: &str = "agent.efi";
/// The GRUB that starts the first disk with an EFI boot loader.
pub const LOCAL_DISK: &str = "local-disk.efi";
/// The distribution's signed first stage, for machines under Secure Boot.
pub const SHIM: &str = "shimx64.efi";

impl Default for BootFiles {
    fn default() -> Self {
        let list = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect();
        Self(BTreeMap::from([
            (FirmwareClass::Bios, list(&["undionly.kpxe", "ipxe.pxe"])),
            (FirmwareClass::UefiX64, list(&["snponly.efi", "ipxe.efi"])),
            (
                FirmwareClass::UefiX64Http,
                list(&[AGENT_IMAGE, "snponly.efi", "ipxe.efi"]),
            ),
            (
                FirmwareClass::UefiArm64,
                list(&["snponly-arm64.efi", "ipxe-arm64.efi"]),
            ),
            (
                FirmwareClass::UefiArm64Http,
                list(&["snponly-arm64.efi", "ipxe-arm64.efi"]),
            ),
        ]))
    }
}

/// What is remembered of a machine's ways from firmware to the agent. Durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootHistory {
    /// What each boot file led to.
    #[serde(default)]
    pub files: BTreeMap<String, BootFileRecord>,
    /// The file that was offered last and has led nowhere yet.
    #[serde(default)]
    pub trying: Option<Attempt>,
}

impl BootHistory {
    /// The file of `files` that is offered next: the first of those that failed least often in a row.
    pub fn choose<'f>(&self, files: &'f [String]) -> Option<&'f str> {
        let failed = |file: &&String| self.files.get(*file).map_or(0, |record| record.failed);
        files.iter().min_by_key(failed).map(String::as_str)
    }
}

/// What one boot file led to on one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFileRecord {
    /// How often in a row it was fetched and the machine came back to its firmware.
    pub failed: u32,
    /// When it last led to the next stage.
    pub worked: Option<Timestamp>,
}

/// A boot file on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What asked.
    pub class: FirmwareClass,
    /// The file's name.
    pub file: String,
    /// When it was first offered in this attempt.
    pub since: Timestamp,
    /// How its transfer ended last; `None` while it was not asked for.
    pub transfer: Option<Transfer>,
    /// How often firmware asked for an address in this attempt.
    #[serde(default)]
    pub asked: u32,
    /// The diagnosis that was told already in this attempt.
    #[serde(default)]
    pub told: Option<Diagnosis>,
}

/// The transfer of a file to a machine, as far as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The file's name, without folders of the URL.
    pub file: String,
    /// How.
    pub protocol: Protocol,
    /// Bytes that the machine has.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub size: u64,
    /// How it ended.
    pub end: TransferEnd,
    /// From its first packet to its last, in milliseconds.
    #[serde(default)]
    pub took: u64,
}

/// How a file was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 1350.
    Tftp,
    /// RFC 9110.
    Http,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum TransferEnd {
    /// The machine has the whole file (or the whole range that it asked for).
    Complete,
    /// The machine broke it off.
    Aborted {
        /// TFTP's error code; `None` where an HTTP connection was closed.
        code: Option<u16>,
        /// The machine's words, escaped.
        message: String,
    },
    /// Nothing was heard of the machine any more.
    Silence,
}

/// What usually goes wrong between firmware and agent. The names are stable: documents and scripts
/// refer to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnosis {
    /// The firmware asks for an address again and again and never takes the offer.
    OfferNotTaken,
    /// It took the address and never asked for its boot file.
    BootFileNotAsked,
    /// The transfer stopped in the middle: a path that loses packets of this size or port.
    TransferStalled,
    /// The whole file arrived, and the machine came back to its firmware: the file does not run there.
    BootFileDidNotRun,
    /// As before, for a file without signature on UEFI: most likely Secure Boot refused it.
    UnsignedUnderSecureBoot,
    /// iPXE ran, and its script was never asked for.
    ScriptNotAsked,
    /// The script was served, and the kernel or the initramfs never arrived whole.
    AgentNotFetched,
    /// Kernel and initramfs arrived, and the agent was never heard of.
    AgentSilent,
    /// No boot file exists for this firmware.
    UnknownFirmware,
    /// The pool has no address left.
    PoolExhausted,
    /// Another DHCP server answered it.
    ForeignServer,
    /// Its SMBIOS UUID is another machine's, too.
    DuplicateUuid,
    /// Somebody uses the address that it was to get.
    AddressConflict,
}

impl Diagnosis {
    /// The name under which it is documented: `offer-not-taken`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::OfferNotTaken => "offer-not-taken",
            Self::BootFileNotAsked => "boot-file-not-asked",
            Self::TransferStalled => "transfer-stalled",
            Self::BootFileDidNotRun => "boot-file-did-not-run",
            Self::UnsignedUnderSecureBoot => "unsigned-under-secure-boot",
            Self::ScriptNotAsked => "script-not-asked",
            Self::AgentNotFetched => "agent-not-fetched",
            Self::AgentSilent => "agent-silent",
            Self::UnknownFirmware => "unknown-firmware",
            Self::PoolExhausted => "pool-exhausted",
            Self::ForeignServer => "foreign-server",
            Self::DuplicateUuid => "duplicate-uuid",
            Self::AddressConflict => "address-conflict",
        }
    }
}

/// Why a machine asks the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asker", rename_all = "kebab-case")]
pub enum Asker {
    /// An operating system, or the agent, that wants an address.
    System,
    /// Firmware that wants a boot file; `None` where its architecture has no class.
    Firmware {
        /// Its class.
        class: Option<FirmwareClass>,
    },
    /// iPXE that wants its script.
    Ipxe,
}
