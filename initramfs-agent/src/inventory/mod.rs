//! One look at the hardware. `root` is `/` outside tests.

mod aliases;
pub mod content;
mod disks;
mod layout;
mod system;

use std::path::Path;

use hardway_model::identity::MacAddress;
use hardway_model::inventory::{Inventory, Nic};
use hardway_userspace::links;

use crate::boot_variables;

pub use disks::read_one as read_disk;

/// Reads everything that a plan may depend on.
pub fn take(root: &Path) -> Inventory {
    Inventory {
        firmware: system::firmware(root),
        system: system::system(root),
        memory: system::memory(root),
        processor: system::processor(root),
        nics: nics(root),
        disks: disks::list(root),
        driverless: system::driverless(root),
        tpm2: Some(system::has_tpm2(root)),
        boot_variables: boot_variables::read(&root.join("sys/firmware/efi/efivars")),
    }
}

fn nics(root: &Path) -> Vec<Nic> {
    // Without /sys/class/net there is no interface to list.
    links::list(root)
        .unwrap_or_default()
        .into_iter()
        .map(|link| Nic {
            name: link.name,
            mac: MacAddress(link.mac),
            driver: link.driver,
            carrier: link.carrier,
            speed: link.speed,
        })
        .collect()
}

/// An attribute file's text without padding; `None` where it is absent, unreadable or empty.
fn attribute(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}
