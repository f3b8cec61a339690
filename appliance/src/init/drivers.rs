//! Kernel modules: first those inside the initramfs, then the store on the appliance's disk.

use std::path::Path;
use std::time::Duration;

use hardway_userspace::console::Console;
use hardway_userspace::modules::{Index, ModuleLoader, Source};

use super::told;

/// Where the initramfs keeps its modules.
const INITRAMFS: &str = "/lib/hardway/modules";
/// What no device asks for by itself: the filesystems of the appliance's disk, with the character
/// sets that the kernel's FAT driver wants before it mounts, and the power button.
const WANTED: [&str; 8] = [
    "vfat",
    "ext4",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
    "evdev",
    "button",
];
/// Devices are looked at until for this long no new one appeared.
const QUIET: Duration = Duration::from_millis(300);

/// The loaders, one for each place that holds modules.
pub struct Drivers {
    loaders: Vec<ModuleLoader>,
}

impl Drivers {
    /// Loads what the hardware asks for and the initramfs has.
    pub fn from_initramfs(console: &Console) -> Self {
        let mut drivers = Self {
            loaders: Vec::new(),
        };
        drivers.add_store(Path::new(INITRAMFS), console);
        drivers
    }

    /// Adds a folder of modules and loads from it what the hardware asks for.
    pub fn add_store(&mut self, folder: &Path, console: &Console) {
        match Index::load(&folder.join("index.json")) {
            Ok(index) => {
                let mut loader = ModuleLoader::new(index, Source::Folder(folder.to_owned()));
                for name in WANTED {
                    // A kernel may have it built in, and the other store may hold it.
                    if loader.index().find(name).is_some()
                        && let Err(error) = loader.load(name)
                    {
                        console.line(&told(&error));
                    }
                }
                self.loaders.push(loader);
                self.look_again(console);
            }
            Err(error) => console.line(&format!("no modules: {}", told(&error))),
        }
    }

    /// Serves devices that have appeared since the last look.
    pub fn look_again(&mut self, console: &Console) {
        for loader in &mut self.loaders {
            let looked = loader.coldplug(Path::new("/sys"), QUIET);
            for error in looked.failed {
                console.line(&told(&error));
            }
            if !looked.loaded.is_empty() {
                console.line(&format!("modules: {}", looked.loaded.join(" ")));
            }
        }
    }
}
