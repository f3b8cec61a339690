//! `image node`: the operating system that labs and tests install, from Debian packages.
//!
//! ```text
//! recipe ─▶ closure ─▶ bootstrap ─▶ tree ─▶ rootfs, drivers ─▶ ext4 ─┐
//!                                             GRUB ─▶ ESP, BIOS boot ─┴▶ disk ─▶ node.img.zst
//! ```
//!
//! Root is not needed: the packages are installed in a user namespace, and owners then live in tar
//! archives only. Same packages, same recipe: same bytes.

mod bootstrap;
mod drivers;
mod recipe;
mod rootfs;
mod tree;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::{Apt, Package};
use crate::disk::{self, Content, DiskLayout, Guid, Partition, ext4, fat, grub};
use crate::initramfs::Archive;
use crate::manifest::Manifest;
use crate::stamp::Stamp;
use crate::{closure, kernel, process, progress, stamp, workspace};
use recipe::Recipe;
use tree::Tree;

/// The image's name within its folder.
const IMAGE: &str = "node.img.zst";
/// Where GRUB finds its configuration: in the root partition of the disk that it was read from.
const GRUB_FOLDER: &str = "(,gpt3)/boot/grub";
/// Runs the initrd's script.
const SHELL_PACKAGE: &str = "busybox-static";
const MEBIBYTE: u64 = 1 << 20;

/// Builds `out/node/node.img.zst`, unless it is there from the same inputs, and returns its folder.
pub fn build(mirror: Option<&str>) -> Result<PathBuf> {
    let recipe_folder = workspace::recipe("node");
    let recipe = Recipe::load(&recipe_folder)?;
    let apt = Apt::open(&recipe.suite, mirror)?;
    let mut unpacked = vec![apt.package(SHELL_PACKAGE)?];
    for name in recipe.disk.esp.programs.keys() {
        unpacked.push(apt.package(name)?);
    }
    let packages = closure::resolve(&apt, &recipe.wanted())?;

    let folder = workspace::out().join("node");
    let hash = fingerprint(&recipe_folder, packages.iter().chain(&unpacked))?;
    let outputs = [IMAGE, "node.img.sha256", "manifest.json", "sbom.spdx.json"];
    let stamp_file = folder.join("stamp");
    if stamp::is_fresh(&stamp_file, &hash, &outputs.map(|name| folder.join(name))) {
        eprintln!("image node: up to date");
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let build = Build {
        recipe,
        recipe_folder,
        apt,
        unpacked,
        packages,
        work: scratch()?,
    };
    build.run(&folder).context("building the node image")?;
    stamp::write(&stamp_file, &hash)?;
    Ok(folder)
}

/// The suite that the image is made from.
pub fn suite() -> Result<String> {
    Ok(Recipe::load(&workspace::recipe("node"))?.suite)
}

/// Has `hardway` import the image, unless it is imported already, and deletes what is of others.
pub fn import(folder: &Path, hardway: &Path) -> Result<()> {
    let image = folder.join(IMAGE);
    let sha256 = stamp::sha256_of(&image)?;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.context("listing the node image")?.path();
        let is_imported = path
            .extension()
            .is_some_and(|ending| ending == "data" || ending == "index");
        if is_imported && path.file_stem().is_none_or(|stem| *stem != *sha256) {
            fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
    }
    if folder.join(format!("{sha256}.index")).is_file() {
        return Ok(());
    }
    let step = progress::spinner("importing the node image".to_owned());
    process::run(Command::new(hardway).args(["image", "import"]).arg(&image))?;
    step.done("in chunks");
    Ok(())
}

/// Everything that the image is made from.
fn fingerprint<'a>(recipe: &Path, packages: impl Iterator<Item = &'a Package>) -> Result<String> {
    let stamp = packages.fold(Stamp::new("node"), |stamp, package| {
        stamp.text(&package.name, &package.sha256)
    });
    let sources = [
        "node.rs",
        "node/bootstrap.rs",
        "node/drivers.rs",
        "node/recipe.rs",
        "node/rootfs.rs",
        "node/tree.rs",
        "disk.rs",
        "disk/ext4.rs",
        "disk/fat.rs",
        "disk/grub.rs",
        "initramfs.rs",
    ];
    Ok(stamp.folder(recipe)?.sources(&sources)?.finish())
}

/// A folder for what comes between, gone at the end.
fn scratch() -> Result<tempfile::TempDir> {
    let cache = workspace::cache();
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("node-")
        .tempdir_in(cache)
        .context("making a folder for the build")
}

struct Build {
    recipe: Recipe,
    recipe_folder: PathBuf,
    apt: Apt,
    /// What is taken out of packages that are not installed.
    unpacked: Vec<Package>,
    packages: Vec<Package>,
    work: tempfile::TempDir,
}

impl Build {
    fn run(&self, folder: &Path) -> Result<()> {
        let archive = self.path("installed.tar");
        bootstrap::install(&self.apt, &self.recipe, &archive)?;

        let mut tree = Tree::read(&archive)?;
        let packages = rootfs::prepare(&mut tree, &self.recipe, &self.recipe_folder)?;
        self.put_kernel(&mut tree)?;
        let disk = self.assemble(&tree)?;

        self.pack(&disk, folder)?;
        self.describe(folder, &packages)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Leaves the kernel, the drivers that the recipe names and an initrd with its own drivers.
    fn put_kernel(&self, tree: &mut Tree) -> Result<()> {
        let drivers = drivers::Drivers::read(tree)?;
        let initrd = self.initrd(&drivers, tree).context("building the initrd")?;
        drivers.prune(tree, &self.recipe.modules.keep)?;
        tree.rename(&format!("boot/vmlinuz-{}", drivers.release), "boot/vmlinuz")?;
        tree.insert("boot/initrd.img", 0o644, initrd);
        Ok(())
    }

    fn initrd(&self, drivers: &drivers::Drivers, tree: &Tree) -> Result<Vec<u8>> {
        let script = self.recipe_folder.join("initrd/init");
        let script = fs::read(&script).with_context(|| format!("reading {}", script.display()))?;
        let shell = self.unpack(SHELL_PACKAGE)?.join("usr/bin/busybox");
        let shell = fs::read(&shell).with_context(|| format!("reading {}", shell.display()))?;

        let mut archive = Archive::for_init(script);
        archive.file("bin/busybox", 0o755, shell);
        let mut order = String::new();
        for (name, module) in drivers.in_load_order(tree, &self.recipe.modules.initrd)? {
            order.push_str(&name);
            order.push('\n');
            archive.file(&format!("modules/{name}"), 0o644, module);
        }
        archive.file("modules/order", 0o644, order.into_bytes());
        archive.compress("the node's initrd")
    }

    /// The files of a package that is not installed.
    fn unpack(&self, name: &str) -> Result<PathBuf> {
        let found = self.unpacked.iter().find(|package| package.name == name);
        let package = found.with_context(|| format!("{name} is not among the image's packages"))?;
        kernel::unpacked(&self.apt, package)
    }

    fn assemble(&self, tree: &Tree) -> Result<PathBuf> {
        let disk = &self.recipe.disk;
        let partition = |name: &str, kind: Guid, guid: Guid, content: Content| Partition {
            name: name.to_owned(),
            kind,
            guid,
            size: MEBIBYTE,
            content,
        };
        let core = grub::bios_core(grub::Start::Folder(GRUB_FOLDER))?;
        let layout = DiskLayout {
            guid: disk.guid,
            partitions: vec![
                partition(
                    "bios-boot",
                    Guid::BIOS_BOOT,
                    disk.bios_boot.guid,
                    Content::BiosBoot(core),
                ),
                partition("esp", Guid::ESP, disk.esp.guid, Content::File(self.esp()?)),
                partition(
                    "root",
                    Guid::ROOT_X86_64,
                    disk.root.guid,
                    Content::File(self.root(tree)?),
                ),
            ],
        };
        let output = self.path("node.img");
        disk::assemble(&layout, &output)?;
        Ok(output)
    }

    fn esp(&self) -> Result<PathBuf> {
        let esp = &self.recipe.disk.esp;
        let config = self.recipe_folder.join("esp.cfg");
        let mut files = vec![(format!("/{}", esp.config), fat::FatFile::Path(config))];
        for (package, programs) in &esp.programs {
            let folder = self.unpack(package)?;
            for (path, place) in programs {
                files.push((format!("/{path}"), fat::FatFile::Path(folder.join(place))));
            }
        }
        let image = fat::FatImage {
            label: "ESP".to_owned(),
            volume_id: esp.volume_id,
            kind: fat::FatKind::Fat16,
            size: esp.mebibytes * MEBIBYTE,
            files,
        };
        let output = self.path("esp.img");
        fat::build(&image, &output)?;
        Ok(output)
    }

    fn root(&self, tree: &Tree) -> Result<PathBuf> {
        let archive = self.path("root.tar");
        let file = File::create(&archive).context("making the root archive")?;
        tree.write(BufWriter::with_capacity(1 << 20, file))?;

        let root = &self.recipe.disk.root;
        // Besides the contents: the journal, inode tables (one inode of 256 bytes for 16 KiB), maps.
        let contents = tree.size() + root.slack_mebibytes * MEBIBYTE;
        let size = contents + contents / 40 + 20 * MEBIBYTE;
        ensure!(
            tree.count() < size / 16384,
            "more files than the filesystem has inodes"
        );
        let image = ext4::Ext4Image {
            label: "root".to_owned(),
            uuid: root.uuid,
            size: size.next_multiple_of(MEBIBYTE),
            archive: Some(archive),
        };
        let output = self.path("root.img");
        ext4::build(&ext4::Tools::open(&self.apt)?, &image, &output)?;
        Ok(output)
    }

    /// Compresses the disk, and writes the hash of both forms beside it.
    fn pack(&self, disk: &Path, folder: &Path) -> Result<()> {
        let level = self.recipe.compression.zstd_level;
        let step = progress::spinner(format!("compressing the node image with zstd -{level}"));
        let (packed, fresh) = (folder.join(IMAGE), folder.join("node.img.zst.new"));
        // Two threads everywhere: the number of threads is part of what the output depends on.
        process::run(
            Command::new("zstd")
                .args(["--quiet", "--force", "--threads=2"])
                .arg(format!("-{level}"))
                .arg(disk)
                .arg("-o")
                .arg(&fresh),
        )?;
        fs::rename(&fresh, &packed).with_context(|| format!("renaming {}", fresh.display()))?;
        let length = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
        let (small, large) = (
            progress::size(length(&packed)),
            progress::size(length(disk)),
        );
        step.done(&format!("{small} from {large}"));

        let hashes = format!(
            "{}  {IMAGE}\n{}  node.img\n",
            stamp::sha256_of(&packed)?,
            stamp::sha256_of(disk)?
        );
        fs::write(folder.join("node.img.sha256"), hashes).context("writing the image's hashes")
    }

    fn describe(&self, folder: &Path, installed: &[rootfs::Installed]) -> Result<()> {
        let mut packages = rootfs::with_hashes(installed, &self.packages)?;
        packages.extend(self.unpacked.iter().cloned());
        let mut manifest = Manifest::new("node", &self.recipe.suite, packages);
        manifest.add_file(folder, IMAGE)?;
        manifest.write(folder, &[])
    }
}
