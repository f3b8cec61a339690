//! Kernel modules: those of the initramfs first, everything else from the appliance.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardway_userspace::modules::{Coldplug, Index, Module, ModuleLoader, Source};
use sha2::{Digest, Sha256};

use crate::http::Appliance;
use crate::patience::{chain, patiently};
use crate::reports::Reports;

const OWN: &str = "/lib/hardway/modules";
/// How long nothing new has to appear until the machine counts as looked at.
const QUIET: Duration = Duration::from_millis(300);

/// Loads what the machine's devices ask for out of the initramfs: buses and network cards.
pub struct OwnDrivers(Option<ModuleLoader>);

impl OwnDrivers {
    /// Opens the initramfs's modules. Without any, the kernel may still have what is needed.
    pub fn open(reports: &Reports) -> Self {
        let folder = Path::new(OWN);
        match Index::load(&folder.join("index.json")) {
            Ok(index) => Self(Some(ModuleLoader::new(
                index,
                Source::Folder(folder.to_owned()),
            ))),
            Err(error) => {
                reports.log(&format!("no modules in the initramfs: {}", chain(&error)));
                Self(None)
            }
        }
    }

    /// Loads a module by name, for what no device asks for. Whether the kernel has it built in shows when
    /// it is used.
    pub fn load(&mut self, name: &str, reports: &Reports) {
        if let Some(Err(error)) = self.0.as_mut().map(|loader| loader.load(name)) {
            reports.log(&chain(&error));
        }
    }

    /// Looks at all devices, and at those that have appeared since.
    pub fn coldplug(&mut self, reports: &Reports) {
        if let Some(loader) = &mut self.0 {
            tell(reports, &loader.coldplug(Path::new("/sys"), QUIET));
        }
    }
}

/// The appliance's module store.
pub struct Drivers {
    loader: ModuleLoader,
    reports: Reports,
}

impl Drivers {
    /// Fetches the store's index, which has to be for the kernel that runs.
    pub fn open(appliance: &Appliance, reports: &Reports) -> Result<Self> {
        let index: Index = patiently(reports, || appliance.get_json("/modules/index.json"))
            .context("fetching the index of kernel modules")?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if index.kernel != kernel.trim() {
            bail!(
                "the appliance's modules are for kernel {}, and {} runs here",
                index.kernel,
                kernel.trim()
            );
        }
        let (appliance, told) = (appliance.clone(), reports.clone());
        let fetch = move |_: &str, module: &Module| fetch(&appliance, &told, module);
        Ok(Self {
            loader: ModuleLoader::new(index, Source::Fetch(Box::new(fetch))),
            reports: reports.clone(),
        })
    }

    /// A store without modules.
    #[cfg(any(test, feature = "replay"))]
    pub fn none(reports: &Reports) -> Self {
        Self {
            loader: ModuleLoader::new(Index::default(), Source::Folder(OWN.into())),
            reports: reports.clone(),
        }
    }

    /// Loads what the devices ask for. What fails is told and left out.
    pub fn coldplug(&mut self) {
        tell(
            &self.reports,
            &self.loader.coldplug(Path::new("/sys"), QUIET),
        );
    }

    /// Loads a module by name. One that the kernel has built in or that the store lacks is told, and
    /// left to whatever needs it.
    pub fn load(&mut self, name: &str) {
        match self.loader.load(name) {
            Ok(loaded) if loaded.is_empty() => {}
            Ok(loaded) => self.reports.log(&format!("loaded {}", loaded.join(", "))),
            Err(error) => self.reports.log(&chain(&error)),
        }
    }
}

fn fetch(appliance: &Appliance, reports: &Reports, module: &Module) -> Result<Vec<u8>, String> {
    let bytes = patiently(reports, || {
        appliance.get(&format!("/modules/{}", module.file), &[])
    })
    .map_err(|error| chain(&error))?;
    let found = hardway_model::identity::Sha256(Sha256::digest(&bytes).into()).to_string();
    if found != module.sha256 {
        return Err(format!(
            "its SHA-256 is {found}, and the index says {}",
            module.sha256
        ));
    }
    Ok(bytes)
}

fn tell(reports: &Reports, coldplug: &Coldplug) {
    if !coldplug.loaded.is_empty() {
        reports.log(&format!("loaded {}", coldplug.loaded.join(", ")));
    }
    for error in &coldplug.failed {
        reports.log(&chain(error));
    }
}
