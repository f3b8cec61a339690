//! Kernel modules, by name and by the hardware's modaliases, from an index of our own.
//!
//! The index replaces depmod's files: one JSON that both initramfs and the appliance's module
//! store carry beside the modules. Module names are written with underscores.

mod alias;
mod index;
mod loader;

pub use alias::matches;
pub use index::{Index, IndexError, Module};
pub use loader::{Coldplug, Fetch, LoadError, ModuleLoader, Source};
