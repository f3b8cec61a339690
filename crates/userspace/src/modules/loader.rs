//! Loading: finit_module(2), dependencies first, each module once.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use super::index::{Index, Module};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h.
const COMPRESSED: i32 = 4;
/// How often the devices are looked at while more may appear.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The index does not know it, or something that it needs.
    #[error("module {wanted}: there is no module {missing}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What is missing.
        missing: String,
    },
    /// Its file cannot be had.
    #[error("fetching module {name} ({file}): {cause}")]
    Fetch {
        /// The module.
        name: String,
        /// Its file.
        file: String,
        /// Why not.
        cause: String,
    },
    /// The kernel refused it.
    #[error("loading module {name}")]
    Load {
        /// The module.
        name: String,
        /// Why not.
        source: Errno,
    },
}

/// Gives a module's bytes by its name and index entry, or says why it cannot.
pub type Fetch = dyn FnMut(&str, &Module) -> Result<Vec<u8>, String> + Send;

/// Where modules come from.
pub enum Source {
    /// A folder that holds the files.
    Folder(PathBuf),
    /// A function that gives a module's bytes, already checked against its SHA-256. They pass
    /// through a file in /run, as finit_module(2) wants one that nobody writes to.
    Fetch(Box<Fetch>),
}

/// Loads the modules of one index.
pub struct ModuleLoader {
    index: Index,
    source: Source,
    root: PathBuf,
    /// Tried already, with or without luck.
    settled: BTreeSet<String>,
    /// Those among them whose file could not be had: the next call tries again.
    unfetched: Vec<String>,
    /// Modaliases looked at already.
    seen: BTreeSet<String>,
}

/// What a look at all devices came to.
#[derive(Debug, Default)]
pub struct Coldplug {
    /// Modules that were loaded, in order.
    pub loaded: Vec<String>,
    /// What failed; the rest went on.
    pub failed: Vec<LoadError>,
    /// Modaliases that no module of the index serves. The kernel itself may.
    pub unmatched: Vec<String>,
}

impl ModuleLoader {
    /// A loader over `index`. What /sys/module names is taken as loaded.
    pub fn new(index: Index, source: Source) -> Self {
        Self {
            index,
            source,
            root: PathBuf::from("/"),
            settled: BTreeSet::new(),
            unfetched: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Loads the module of that name or alias with all that it needs. What is loaded already is no
    /// error. Gives back the names that were loaded now.
    pub fn load(&mut self, name: &str) -> Result<Vec<String>, LoadError> {
        let outcome = self.load_once(name);
        self.forget_unfetched();
        outcome
    }

    /// Loads what the devices under `sys_root` (`/sys`) ask for, until for `quiet` no new device
    /// has appeared. A second call looks at devices that are new since, and at those whose modules
    /// could not be fetched.
    pub fn coldplug(&mut self, sys_root: &Path, quiet: Duration) -> Coldplug {
        let mut outcome = Coldplug::default();
        let mut deadline = Instant::now() + quiet;
        loop {
            let fresh: Vec<String> = modaliases(&sys_root.join("devices"))
                .into_iter()
                .filter(|alias| self.seen.insert(alias.clone()))
                .collect();
            if !fresh.is_empty() {
                fresh
                    .iter()
                    .for_each(|alias| self.serve(alias, &mut outcome));
                deadline = Instant::now() + quiet;
                continue;
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        if !self.unfetched.is_empty() {
            self.seen.clear();
            self.forget_unfetched();
        }
        outcome
    }

    fn serve(&mut self, alias: &str, outcome: &mut Coldplug) {
        let names: Vec<String> = self
            .index
            .wanted_by(alias)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            outcome.unmatched.push(alias.to_owned());
        }
        for name in names {
            if self.settled.contains(&name) {
                continue;
            }
            match self.load_once(&name) {
                Ok(loaded) => outcome.loaded.extend(loaded),
                Err(error) => outcome.failed.push(error),
            }
        }
    }

    fn load_once(&mut self, name: &str) -> Result<Vec<String>, LoadError> {
        if self.is_loaded(name) {
            return Ok(Vec::new());
        }
        let order: Vec<String> = self
            .index
            .closure(name)
            .map_err(|missing| LoadError::Unknown {
                wanted: name.to_owned(),
                missing,
            })?
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut loaded = Vec::new();
        let mut first_failure = None;
        for name in order {
            if self.is_loaded(&name) || !self.settled.insert(name.clone()) {
                continue;
            }
            match self.load_one(&name) {
                Ok(()) => loaded.push(name),
                Err(error) => {
                    if matches!(error, LoadError::Fetch { .. }) {
                        self.unfetched.push(name);
                    }
                    first_failure.get_or_insert(error);
                }
            }
        }
        // A softdep may be refused, as crc32c_intel is on a processor without the instruction: what
        // was asked for counts, and the kernel refuses that itself where a hard dependency is missing.
        let is_there = self
            .index
            .roots(name)
            .iter()
            .any(|root| loaded.iter().any(|name| name == root));
        match first_failure {
            Some(error) if !is_there => return Err(error),
            _ => {}
        }
        Ok(loaded)
    }

    fn forget_unfetched(&mut self) {
        for name in self.unfetched.drain(..) {
            self.settled.remove(&name);
        }
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.root
            .join("sys/module")
            .join(name.replace('-', "_"))
            .exists()
    }

    fn load_one(&mut self, name: &str) -> Result<(), LoadError> {
        let Some((_, module)) = self.index.find(name) else {
            return Ok(());
        };
        let failed = |cause: String| LoadError::Fetch {
            name: name.to_owned(),
            file: module.file.clone(),
            cause,
        };
        let (path, is_temporary) = match &mut self.source {
            Source::Folder(folder) => (folder.join(&module.file), false),
            Source::Fetch(fetch) => {
                let bytes = fetch(name, module).map_err(failed)?;
                let path = self.root.join("run").join(format!("module-{name}"));
                std::fs::write(&path, bytes).map_err(|error| failed(error.to_string()))?;
                (path, true)
            }
        };
        let file = File::open(&path).map_err(|error| failed(error.to_string()))?;
        let is_plain = module.file.ends_with(".ko");
        let flags = ModuleInitFlags::from_bits_retain(if is_plain { 0 } else { COMPRESSED as _ });
        let outcome = finit_module(&file, c"", flags);
        if is_temporary {
            // Left behind it would only take memory until the next boot.
            let _ = std::fs::remove_file(&path);
        }
        match outcome {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(source) => Err(LoadError::Load {
                name: name.to_owned(),
                source,
            }),
        }
    }
}

/// The modaliases of all devices below a folder of /sys, each once.
fn modaliases(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A device may vanish while it is looked at.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "modalias" {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let alias = text.trim();
                if !alias.is_empty() {
                    found.insert(alias.to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn loader(root: &Path, fetched: Arc<Mutex<Vec<String>>>) -> ModuleLoader {
        let module = |depends: &[&str], aliases: &[&str]| Module {
            file: "m.ko.xz".into(),
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            aliases: aliases.iter().map(|name| (*name).to_owned()).collect(),
            ..Module::default()
        };
        let modules = [
            ("bus", module(&[], &["pci:v01*"])),
            ("card", module(&["bus", "core"], &["pci:v02*"])),
            ("core", module(&[], &[])),
        ];
        let index = Index {
            kernel: "6.12.0".into(),
            modules: modules
                .map(|(name, module)| (name.to_owned(), module))
                .into(),
        };
        let fetch = move |name: &str, _: &Module| {
            fetched.lock().unwrap().push(name.to_owned());
            Err("no network".to_owned())
        };
        ModuleLoader {
            root: root.to_owned(),
            ..ModuleLoader::new(index, Source::Fetch(Box::new(fetch)))
        }
    }

    #[test]
    fn coldplug_asks_once_for_what_the_devices_name_and_again_for_what_it_did_not_get() {
        let root = tempfile::tempdir().unwrap();
        for (device, alias) in [
            ("pci0/a", "pci:v02d1"),
            ("pci0/a/b", "pci:v01d1"),
            ("c", "acpi:X"),
        ] {
            let folder = root.path().join("sys/devices").join(device);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("modalias"), format!("{alias}\n")).unwrap();
        }
        std::fs::create_dir_all(root.path().join("sys/module/core")).unwrap();
        let fetched = Arc::new(Mutex::new(Vec::new()));
        let mut loader = loader(root.path(), fetched.clone());
        let outcome = loader.coldplug(&root.path().join("sys"), Duration::ZERO);
        assert_eq!(outcome.unmatched, ["acpi:X"]);
        let failures: Vec<String> = outcome.failed.iter().map(ToString::to_string).collect();
        assert_eq!(failures[0], "fetching module bus (m.ko.xz): no network");
        assert_eq!(*fetched.lock().unwrap(), ["bus", "card"]);
        loader.coldplug(&root.path().join("sys"), Duration::ZERO);
        assert_eq!(*fetched.lock().unwrap(), ["bus", "card", "bus", "card"]);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = loader(root.path(), Arc::default())
            .load("ext4")
            .unwrap_err();
        assert_eq!(error.to_string(), "module ext4: there is no module ext4");
    }
}
