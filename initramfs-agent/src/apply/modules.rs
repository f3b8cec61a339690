//! Kernel modules that disks work needs: from the appliance's store, or by the system's own modprobe
//! where a plan is tried out on a running system.

use hardway_ignition::operation::disks::Format;

use super::programs;
use crate::drivers::Drivers;

/// Where modules come from.
pub enum Modules<'a> {
    /// The appliance's store.
    Store(&'a mut Drivers),
    /// The running system's.
    Modprobe,
}

impl Modules<'_> {
    /// Loads these, in order. What fails is left to whatever needs it: it may be built in.
    pub fn load(&mut self, names: &[&str]) {
        for name in names {
            match self {
                Self::Store(drivers) => drivers.load(name),
                Self::Modprobe => {
                    // No modprobe: the system has what it needs, or its absence shows at once.
                    let _ = programs::ask("modprobe", &["--quiet", name]);
                }
            }
        }
    }
}

/// What device-mapper's encryption and cryptsetup's key slots ask the kernel for. The kernel would
/// load the ciphers that are not built in through a modprobe that is not there.
pub const ENCRYPTION: &[&str] = &[
    "dm_mod",
    "dm_crypt",
    "xts",
    "essiv",
    "algif_skcipher",
    "algif_hash",
];

/// TPM 2.0 interfaces of PCs.
pub const TPM: &[&str] = &["tpm_crb", "tpm_tis"];

/// What mounting a filesystem takes.
pub fn of_filesystem(format: Format) -> &'static [&'static str] {
    match format {
        Format::Ext4 => &["ext4"],
        Format::Btrfs => &["btrfs"],
        Format::Xfs => &["xfs"],
        // What the kernel's configuration names as the defaults of vfat.
        Format::Vfat => &[
            "vfat",
            "nls_cp437",
            "nls_ascii",
            "nls_utf8",
            "nls_iso8859-1",
        ],
        Format::Swap | Format::None => &[],
    }
}

/// What an array of that level takes.
pub fn of_array(level: &str) -> &'static [&'static str] {
    match level {
        "raid0" | "stripe" | "0" => &["md_mod", "raid0"],
        "raid1" | "mirror" | "1" => &["md_mod", "raid1"],
        "raid10" | "10" => &["md_mod", "raid10"],
        _ => &["md_mod", "raid456"],
    }
}
