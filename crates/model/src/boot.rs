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

impl FirmwareClass {
    /// For people who do not know the names: "PXE of UEFI on x86-64".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Bios => "PXE of a BIOS",
            Self::UefiX64 => "PXE of UEFI on x86-64",
            Self::UefiX64Http => "HTTP Boot of UEFI on x86-64",
            Self::UefiArm64 => "PXE of UEFI on arm64",
            Self::UefiArm64Http => "HTTP Boot of UEFI on arm64",
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
/// The agent, which is fetched after the kernel.
pub const AGENT_INITRAMFS: &str = "agent.initramfs";

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
            (FirmwareClass::UefiArm64, list(&["ipxe-arm64.efi"])),
            (FirmwareClass::UefiArm64Http, list(&["ipxe-arm64.efi"])),
        ]))
    }
}

/// What is remembered of a machine's ways from firmware to the agent. What files led to is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootHistory {
    /// What each boot file led to; those of at most [`BootHistory::MOST_FILES`].
    #[serde(default)]
    pub files: BTreeMap<String, BootFileRecord>,
    /// The boot that is under way, or that got lost on its way to the agent.
    #[serde(default)]
    pub trying: Option<Attempt>,
    /// When each diagnosis was told last.
    #[serde(default)]
    pub told: BTreeMap<Diagnosis, Timestamp>,
}

impl BootHistory {
    /// Files that are remembered.
    pub const MOST_FILES: usize = 16;

    /// The file of `files` that is offered next: the first of those that failed least often in a row.
    /// One that was fetched whole, and after it nothing was heard, counts as failed: whoever asks is
    /// firmware, and so the file did not run.
    pub fn choose<'f>(&self, files: &'f [String]) -> Option<&'f str> {
        let lost = self.trying.as_ref().filter(|attempt| attempt.is_lost());
        let lost = lost.and_then(|attempt| attempt.file.as_deref());
        let failed = |file: &&String| {
            let failed = self.files.get(*file).map_or(0, |record| record.failed);
            failed.saturating_add(u32::from(lost == Some(file.as_str())))
        };
        files.iter().min_by_key(failed).map(String::as_str)
    }

    /// The file that led to the next stage last, for people: "the way that works".
    pub fn working(&self) -> Option<&str> {
        let worked = self.files.iter().filter(|(_, record)| record.failed == 0);
        worked
            .filter_map(|(file, record)| Some((record.worked?, file)))
            .max()
            .map(|(_, file)| file.as_str())
    }
}

impl BootHistory {
    /// What is wrong at the moment: what was told of the boot that is under way, or of the network in
    /// the last ten minutes.
    pub fn diagnosis(&self, now: Timestamp) -> Option<Diagnosis> {
        const RECENT: Timestamp = 10 * 60 * 1000;
        let is_current =
            |(diagnosis, told): &(&Diagnosis, &Timestamp)| match diagnosis.is_of_a_boot() {
                true => {
                    let attempt = self.trying.as_ref();
                    attempt.is_some_and(|attempt| **told > attempt.since)
                }
                false => now.saturating_sub(**told) < RECENT,
            };
        let told = self.told.iter().filter(is_current);
        told.max_by_key(|(_, told)| **told)
            .map(|(diagnosis, _)| *diagnosis)
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

/// One boot, from the firmware's first packet to the agent's first word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What asked; `None` for iPXE that is itself the firmware, and for unknown architectures.
    pub class: Option<FirmwareClass>,
    /// The boot file that was offered or fetched; `None` where there is none.
    pub file: Option<String>,
    /// When it was first offered in this attempt.
    pub since: Timestamp,
    /// When the machine last said anything.
    pub heard: Timestamp,
    /// How often firmware asked in this attempt.
    pub asked: u32,
    /// How far it has come.
    pub stage: Stage,
    /// How the boot file's transfer ended last; `None` while it was not asked for.
    pub transfer: Option<Transfer>,
    /// How the last transfer of the kernel or the initramfs ended.
    pub agent: Option<Transfer>,
}

impl Attempt {
    /// Whether the whole boot file has arrived.
    pub fn has_file(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::is_whole)
    }

    /// Whether the boot file arrived and has led nowhere yet.
    pub fn is_lost(&self) -> bool {
        self.stage < Stage::Started && self.has_file()
    }
}

/// How far a boot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It was offered an address or a boot file.
    Offered,
    /// It took its address.
    Taken,
    /// It asked for its boot file.
    Asked,
    /// iPXE runs, or the signed GRUB.
    Started,
    /// It was told to start the agent.
    Scripted,
    /// It has the agent.
    Fetched,
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

impl Transfer {
    /// Whether the machine has all of it. Of an empty file there is nothing to run.
    pub fn is_whole(&self) -> bool {
        self.end == TransferEnd::Complete && self.size > 0 && self.bytes >= self.size
    }
}

/// "fetched snponly.efi, 284672 bytes by TFTP".
impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            protocol,
            bytes,
            size,
            end,
            ..
        } = self;
        match end {
            TransferEnd::Complete => write!(f, "fetched {file}, {bytes} bytes by {protocol}"),
            TransferEnd::Aborted { message, .. } => write!(
                f,
                "broke off {file} after {bytes} of {size} bytes by {protocol}: {message}"
            ),
            TransferEnd::Silence => write!(
                f,
                "fell silent after {bytes} of {size} bytes of {file} by {protocol}"
            ),
        }
    }
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

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tftp => "TFTP",
            Self::Http => "HTTP",
        })
    }
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
    /// The disk is complete, control was handed over, and the installed system was never heard of.
    SystemSilent,
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
    /// Every diagnosis.
    pub const ALL: [Self; 14] = [
        Self::OfferNotTaken,
        Self::BootFileNotAsked,
        Self::TransferStalled,
        Self::BootFileDidNotRun,
        Self::UnsignedUnderSecureBoot,
        Self::ScriptNotAsked,
        Self::AgentNotFetched,
        Self::AgentSilent,
        Self::SystemSilent,
        Self::UnknownFirmware,
        Self::PoolExhausted,
        Self::ForeignServer,
        Self::DuplicateUuid,
        Self::AddressConflict,
    ];

    /// Whether it concerns one boot of one machine, and not the network or the rack.
    pub fn is_of_a_boot(self) -> bool {
        matches!(
            self,
            Self::OfferNotTaken
                | Self::BootFileNotAsked
                | Self::TransferStalled
                | Self::BootFileDidNotRun
                | Self::UnsignedUnderSecureBoot
                | Self::ScriptNotAsked
                | Self::AgentNotFetched
                | Self::AgentSilent
        )
    }

    /// For how long it is not repeated in a machine's timeline, in milliseconds, when it is no fault of
    /// one boot: a UUID stays what it is, and a pool may be full now and again.
    pub fn repeated_after(self) -> Timestamp {
        const HOUR: Timestamp = 3600 * 1000;
        match self {
            Self::DuplicateUuid => 24 * HOUR,
            _ => HOUR,
        }
    }

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
            Self::SystemSilent => "system-silent",
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
