//! Debian's kernel package, unpacked once, and the initramfs that are made with its modules.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Package};
use crate::initramfs::Archive;
use crate::modules::{Modules, Selection};
use crate::{stamp, workspace};

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The compressed kernel.
    pub image: PathBuf,
    /// Its modules.
    pub modules: Modules,
}

impl Kernel {
    /// Unpacks a kernel package, unless that has been done, and reads its modules.
    pub fn unpack(apt: &Apt, package: &Package) -> Result<Kernel> {
        let folder = unpacked(apt, package)?;
        let modules = Modules::read(&folder)?;
        let image = folder
            .join("boot")
            .join(format!("vmlinuz-{}", modules.kernel));
        if !image.exists() {
            bail!("package {} has no {}", package.name, image.display());
        }
        Ok(Kernel { image, modules })
    }

    /// A compressed initramfs with a program as `/init` and a selection of modules.
    ///
    /// It is two archives, one behind the other, as the kernel allows: the modules, which take long to
    /// compress, seldom change.
    pub fn initramfs(&self, name: &str, program: &Path, selection: &Selection) -> Result<Vec<u8>> {
        let data = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        let mut modules = Archive::default();
        self.modules
            .add_to(&mut modules, &self.modules.select(selection)?)?;
        let mut initramfs = modules.compress(&format!("the modules of {name}"))?;
        initramfs.extend(Archive::for_init(data).compress(&format!("the init of {name}"))?);
        Ok(initramfs)
    }
}

/// The folder of a package's files, unpacked once for each version.
pub fn unpacked(apt: &Apt, package: &Package) -> Result<PathBuf> {
    let folder = workspace::cache().join("unpacked").join(format!(
        "{}-{}",
        package.name,
        &package.sha256[..8]
    ));
    let done = folder.join(".unpacked");
    if !stamp::is_fresh(&done, &package.sha256, &[]) {
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("emptying {}", folder.display()))?;
        }
        apt.extract(package, &folder)?;
        stamp::write(&done, &package.sha256)?;
    }
    Ok(folder)
}
