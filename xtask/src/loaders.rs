//! systemd-boot and the stub of unified kernel images, in which scenarios make images of other
//! distributions' kind.

use std::fs;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::{kernel, node, workspace};

/// What they are for.
pub const SCENARIO: &str = "loaders";
const PACKAGE: &str = "systemd-boot-efi";
/// Where they stand in the package.
const FOLDER: &str = "usr/lib/systemd/boot/efi";
const PROGRAMS: [&str; 2] = ["systemd-bootx64.efi", "linuxx64.efi.stub"];

/// Puts them into `out/loaders`, from the suite of the node image.
pub fn fetch(mirror: Option<&str>) -> Result<()> {
    let apt = Apt::open(&node::suite()?, mirror)?;
    let unpacked = kernel::unpacked(&apt, &apt.package(PACKAGE)?)?;
    let folder = workspace::out().join(SCENARIO);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for program in PROGRAMS {
        let from = unpacked.join(FOLDER).join(program);
        fs::copy(&from, folder.join(program))
            .with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}
