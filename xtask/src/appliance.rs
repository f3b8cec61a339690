//! `image appliance`: the disk that boots by BIOS and UEFI and runs every boot service.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::agent::{self, AgentImage};
use crate::apt::Package;
use crate::binaries::{self, Program};
use crate::disk::fat::{self, FatFile, FatImage, FatKind};
use crate::disk::{self, Content, DiskLayout, Guid, Partition, grub};
use crate::kernel::Kernel;
use crate::manifest::Manifest;
use crate::modules::Selection;
use crate::stamp::Stamp;
use crate::toolbox::{self, Toolbox};
use crate::{process, progress, stamp, workspace};

const MIB: u64 = 1 << 20;

/// What stands on the ESP, and so the download: more than this is a mistake.
const LARGEST_CONTENT: u64 = 80_000_000;

/// Where both GRUBs look for their menu: on the second partition of the disk that was booted.
const GRUB_FOLDER: &str = "(,gpt2)/grub";

/// `recipe.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    esp: u64,
    config: u64,
    data: u64,
    guids: Guids,
    modules: Selection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guids {
    disk: Guid,
    bios_boot: Guid,
    esp: Guid,
    config: Guid,
    data: Guid,
    data_filesystem: Guid,
}

/// Builds `out/appliance/appliance.img` and `.qcow2`, unless they are there from the same inputs.
/// Returns the raw image.
pub fn build(mirror: Option<&str>) -> Result<PathBuf> {
    let program = binaries::build(Program::Hardway)?;
    let agent = agent::build(mirror)?;
    let toolbox = toolbox::build(mirror)?;
    let folder = workspace::out().join("appliance");
    let image = folder.join("appliance.img");
    let hash = Stamp::new("appliance")
        .file(&program)?
        .file(&agent.folder.join("manifest.json"))?
        .file(&agent.folder.join("modules/index.json"))?
        .file(&toolbox.folder.join("manifest.json"))?
        .folder(&workspace::recipe("appliance"))?
        .sources(&[
            "appliance.rs",
            "disk.rs",
            "disk/fat.rs",
            "disk/grub.rs",
            "kernel.rs",
            "modules.rs",
            "modules/depmod.rs",
            "initramfs.rs",
        ])?
        .finish();
    let stamp_file = folder.join("stamp");
    if stamp::is_fresh(
        &stamp_file,
        &hash,
        &[image.clone(), folder.join("appliance.qcow2")],
    ) {
        eprintln!("image appliance: up to date");
        return Ok(image);
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let recipe: Recipe = agent::read_recipe(&workspace::recipe("appliance").join("recipe.toml"))?;
    let scratch = tempfile::tempdir_in(workspace::out()).context("making a scratch folder")?;
    Builder {
        recipe,
        agent,
        toolbox,
        folder,
        scratch: scratch.path(),
    }
    .build(&program)
    .context("building the appliance's image")?;
    stamp::write(&stamp_file, &hash)?;
    Ok(image)
}

struct Builder<'a> {
    recipe: Recipe,
    agent: AgentImage,
    toolbox: Toolbox,
    folder: PathBuf,
    scratch: &'a Path,
}

impl Builder<'_> {
    fn build(&self, program: &Path) -> Result<()> {
        let initramfs = self.folder.join("appliance.initramfs");
        let kernel = Kernel::unpack(&self.agent.apt, &self.agent.kernel)?;
        let data = kernel.initramfs("appliance", program, &self.recipe.modules)?;
        fs::write(&initramfs, data).with_context(|| format!("writing {}", initramfs.display()))?;

        let step = progress::spinner("assembling the appliance's disk");
        let layout = DiskLayout {
            guid: self.recipe.guids.disk,
            partitions: vec![
                self.bios_boot()?,
                self.esp(&initramfs)?,
                self.config()?,
                self.data()?,
            ],
        };
        let image = self.folder.join("appliance.img");
        disk::assemble(&layout, &image)?;
        let packed = self.folder.join("appliance.qcow2");
        process::run(
            Command::new("qemu-img")
                .args(["convert", "-c", "-f", "raw", "-O", "qcow2"])
                .arg(&image)
                .arg(&packed),
        )?;
        step.done(&format!(
            "appliance.img {}, appliance.qcow2 {}",
            size_on_disk(&image),
            size_on_disk(&packed)
        ));
        self.write_manifest()
    }

    fn bios_boot(&self) -> Result<Partition> {
        Ok(Partition {
            name: "BIOS".to_owned(),
            kind: Guid::BIOS_BOOT,
            guid: self.recipe.guids.bios_boot,
            size: MIB,
            content: Content::BiosBoot(grub::bios_core(grub::Start::Folder(GRUB_FOLDER))?),
        })
    }

    fn esp(&self, initramfs: &Path) -> Result<Partition> {
        let mut files = self.payload()?;
        files.push((
            "/hardway/appliance.initramfs".to_owned(),
            FatFile::Path(initramfs.to_path_buf()),
        ));
        let content = content_size(&files)?;
        ensure!(
            content <= LARGEST_CONTENT,
            "the appliance's files are {}, more than {}",
            progress::size(content),
            progress::size(LARGEST_CONTENT)
        );
        eprintln!(
            "image appliance: {} in {} files",
            progress::size(content),
            files.len()
        );
        let menu = workspace::recipe("appliance").join("grub.cfg");
        files.push(("/grub/grub.cfg".to_owned(), FatFile::Path(menu)));
        let loader = grub::efi_program(grub::Start::Folder(GRUB_FOLDER))?;
        files.push(("/EFI/BOOT/BOOTX64.EFI".to_owned(), FatFile::Bytes(loader)));
        let image = FatImage {
            label: "HARDWAY".to_owned(),
            volume_id: 0x4841_5244,
            kind: FatKind::Fat32,
            size: self.recipe.esp * MIB,
            files,
        };
        self.fat_partition("ESP", Guid::ESP, self.recipe.guids.esp, &image)
    }

    /// The payload folder: `boot/` is what machines fetch by TFTP and HTTP, `modules/` the store,
    /// `toolbox/` what some of them fetch besides.
    fn payload(&self) -> Result<Vec<(String, FatFile)>> {
        let mut files = Vec::new();
        for (folder, to) in [
            (self.agent.folder.clone(), "boot"),
            (self.agent.folder.join("modules"), "modules"),
            (self.toolbox.folder.clone(), "toolbox"),
        ] {
            for entry in
                fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?
            {
                let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_description =
                    name == "stamp" || name == "manifest.json" || name == "sbom.spdx.json";
                if entry.path().is_file() && !is_description {
                    files.push((format!("/hardway/{to}/{name}"), FatFile::Path(entry.path())));
                }
            }
        }
        files.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(files)
    }

    fn config(&self) -> Result<Partition> {
        let folder = workspace::recipe("appliance").join("config");
        let mut files = Vec::new();
        for path in stamp::files_below(&folder)? {
            let place = path
                .strip_prefix(&folder)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            files.push((format!("/{place}"), FatFile::Path(path)));
        }
        let image = FatImage {
            label: "CONFIG".to_owned(),
            volume_id: 0x434f_4e46,
            kind: FatKind::Fat16,
            size: self.recipe.config * MIB,
            files,
        };
        self.fat_partition("CONFIG", Guid::BASIC_DATA, self.recipe.guids.config, &image)
    }

    fn fat_partition(
        &self,
        name: &str,
        kind: Guid,
        guid: Guid,
        image: &FatImage,
    ) -> Result<Partition> {
        let file = self.scratch.join(name);
        fat::build(image, &file)?;
        Ok(Partition {
            name: name.to_owned(),
            kind,
            guid,
            size: image.size,
            content: Content::File(file),
        })
    }

    fn data(&self) -> Result<Partition> {
        let file = self.scratch.join("DATA");
        let size = self.recipe.data * MIB;
        File::create(&file)
            .and_then(|created| created.set_len(size))
            .with_context(|| format!("making {}", file.display()))?;
        let uuid = self.recipe.guids.data_filesystem;
        // 4096-byte blocks although the filesystem is small now: it will be grown.
        process::run(
            process::system_tool("mke2fs")
                .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-L", "DATA", "-J", "size=4"])
                .args(["-U", &uuid.to_string()])
                .args(["-E", &format!("hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard")])
                .arg(&file)
                .env("E2FSPROGS_FAKE_TIME", disk::EPOCH.to_string())
                .env("SOURCE_DATE_EPOCH", disk::EPOCH.to_string()),
        )?;
        Ok(Partition {
            name: "DATA".to_owned(),
            kind: Guid::LINUX_DATA,
            guid: self.recipe.guids.data,
            size,
            content: Content::File(file),
        })
    }

    fn write_manifest(&self) -> Result<()> {
        let mut manifest = Manifest::new("appliance", self.agent.apt.suite(), self.packages());
        for name in ["appliance.img", "appliance.qcow2", "appliance.initramfs"] {
            manifest.add_file(&self.folder, name)?;
        }
        manifest.write(
            &self.folder,
            &[Program::Hardway.package(), Program::Agent.package()],
        )
    }

    /// Those of the agent's image and of the toolbox.
    fn packages(&self) -> Vec<Package> {
        let both = self.agent.packages.iter().chain(&self.toolbox.packages);
        let different: BTreeSet<&Package> = both.collect();
        different.into_iter().cloned().collect()
    }
}

fn content_size(files: &[(String, FatFile)]) -> Result<u64> {
    files.iter().try_fold(0, |sum, (_, file)| match file {
        FatFile::Bytes(bytes) => Ok(sum + bytes.len() as u64),
        FatFile::Path(path) => {
            let data = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
            Ok(sum + data.len())
        }
    })
}

/// What a sparse file really takes.
fn size_on_disk(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or_else(
        |_| "?".to_owned(),
        |data| progress::size(data.blocks() * 512),
    )
}
