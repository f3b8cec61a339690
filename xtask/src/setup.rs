//! The host's tools: what is missing is installed, or named where apt-get is not to be had.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// What is used on the host: the package's name on Debian and Ubuntu, and what it is for.
const PACKAGES: &[(&str, &str)] = &[
    ("atftp", "a TFTP client of the interop cases"),
    (
        "btrfs-progs",
        "the stand-in for Flatcar's image, and looking into it",
    ),
    ("bzip2", "packing the images of the agent's tests"),
    ("ca-certificates", "mirrors that speak https"),
    ("curl", "a TFTP client of the interop cases"),
    (
        "debian-archive-keyring",
        "the keys that Debian's packages are signed with",
    ),
    (
        "dnsmasq-base",
        "the DHCP server that owns the addresses in a scenario",
    ),
    ("dosfstools", "mkfs.vfat and fsck.vfat"),
    ("e2fsprogs", "mke2fs"),
    ("grub-common", "grub-mkimage"),
    ("grub-efi-amd64-bin", "GRUB for UEFI"),
    ("grub-pc-bin", "GRUB for BIOS"),
    ("ignition", "what the agent's files stage is compared with"),
    ("iproute2", "network namespaces of tests"),
    ("kmod", "depmod"),
    ("mmdebstrap", "the node image's root filesystem"),
    ("mtools", "FAT filesystems without mounting them"),
    ("openssh-client", "looking into installed systems"),
    ("ovmf", "UEFI firmware of the virtual machines"),
    ("qemu-system-x86", "the virtual machines"),
    ("qemu-utils", "qemu-img"),
    ("tftp-hpa", "a TFTP client of the interop cases"),
    ("uidmap", "mmdebstrap without root"),
    ("xz-utils", "unpacking kernel modules"),
    ("zstd", "packing images"),
];

/// Installs what is missing. Every other command calls this first; it is quick when nothing is.
pub fn ensure() -> Result<()> {
    if !has_apt() {
        return without_apt();
    }
    ensure_these(PACKAGES)
}

/// Installs those of some packages that are missing; where apt-get is not to be had, whoever needs them
/// says what is missing.
pub fn ensure_these(packages: &[(&'static str, &str)]) -> Result<()> {
    if !has_apt() {
        return Ok(());
    }
    let missing = missing_packages(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("setup: missing on this machine: {}", missing.join(" "));
    install(&missing)
}

fn has_apt() -> bool {
    process::exists("dpkg-query") && process::exists("apt-get")
}

/// Installs a package that something can do without; where that fails, it is said and nothing more.
pub fn wish(package: &'static str, purpose: &str) {
    let is_there = process::exists(package);
    if is_there || !process::exists("apt-get") {
        return;
    }
    eprintln!("setup: {package}, for {purpose}");
    if let Err(error) = install(&[package]) {
        eprintln!("setup: {package} is not to be had, so there is no {purpose}: {error:#}");
    }
}

/// The command `setup`: as [`ensure`], and says so when nothing was missing.
pub fn run() -> Result<()> {
    ensure()?;
    eprintln!(
        "setup: everything that is needed is there ({} packages)",
        PACKAGES.len()
    );
    Ok(())
}

fn missing_packages(packages: &[(&'static str, &str)]) -> Result<Vec<&'static str>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]);
    query.args(packages.iter().map(|(name, _)| name));
    // It ends with an error when it has never heard of one of them, and still lists the others.
    let output = query.output().context("starting dpkg-query")?;
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(packages
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !is_installed(&known, name))
        .collect())
}

fn is_installed(known: &str, name: &str) -> bool {
    known
        .lines()
        .any(|line| line.split_once(' ') == Some((name, "installed")))
}

/// Installs packages, or says why not.
pub fn install(missing: &[&str]) -> Result<()> {
    let attempt = |extra: &[String]| apt_get(&install_arguments(missing, extra));
    if attempt(&[]).is_ok() {
        return Ok(());
    }
    eprintln!("setup: that did not work; reading the package lists and trying again");
    apt_get(&["update".into()])?;
    let Err(error) = attempt(&[]) else {
        return Ok(());
    };
    // A qemu-utils from another suite (backports) has a qemu-img that conflicts with the
    // qemu-system-x86 of this one, and apt refuses both until it may take the older one.
    if !missing.iter().any(|name| name.starts_with("qemu-")) {
        return Err(error);
    }
    let version = candidate("qemu-system-x86")?;
    eprintln!(
        "setup: a qemu-utils of another suite stands in the way; taking version {version} of both"
    );
    attempt(&[
        "--allow-downgrades".into(),
        format!("qemu-utils={version}"),
        format!("qemu-system-x86={version}"),
    ])
}

fn install_arguments(missing: &[&str], extra: &[String]) -> Vec<String> {
    let pinned = |name: &str| {
        extra
            .iter()
            .any(|word| word.starts_with(&format!("{name}=")))
    };
    let mut arguments: Vec<String> = ["install", "--yes", "--no-install-recommends"]
        .map(String::from)
        .into();
    arguments.extend(extra.iter().cloned());
    arguments.extend(
        missing
            .iter()
            .filter(|name| !pinned(name))
            .map(|name| (*name).to_owned()),
    );
    arguments
}

/// Runs apt-get as root: directly, or through sudo with the command shown first.
fn apt_get(arguments: &[String]) -> Result<()> {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else if process::exists("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    } else {
        bail!(
            "these packages are missing, and there is neither root nor sudo: run `apt-get {}` as root",
            arguments.join(" ")
        );
    };
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments);
    eprintln!("setup: {}", process::line(&command));
    process::run_visibly(&mut command)
}

/// A command that runs as root: directly, or through sudo.
pub fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !process::exists("sudo") {
        bail!("`{program}` has to be run as root, and there is no sudo");
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    Ok(sudo)
}

/// Whether this program may do what root may.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// The version of a package that apt would install.
fn candidate(package: &str) -> Result<String> {
    let policy = process::run(
        Command::new("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C.UTF-8"),
    )?;
    parse_candidate(&policy).with_context(|| format!("apt knows no version of {package}"))
}

fn parse_candidate(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Another distribution: what has to be there is looked for by name, and all that is not is listed.
fn without_apt() -> Result<()> {
    const TOOLS: &[(&str, &str)] = &[
        ("qemu-system-x86_64", "QEMU's system emulation for x86"),
        ("qemu-img", "QEMU's disk image tool"),
        ("atftp", "atftp"),
        ("curl", "curl"),
        ("tftp", "tftp-hpa"),
        ("mmdebstrap", "mmdebstrap (and uidmap: newuidmap)"),
        ("mcopy", "mtools"),
        ("mkfs.vfat", "dosfstools"),
        ("mke2fs", "e2fsprogs"),
        (
            "grub-mkimage",
            "GRUB 2 with its i386-pc and x86_64-efi modules",
        ),
        ("apt-get", "apt, and debian-archive-keyring"),
        ("dpkg-deb", "dpkg"),
        ("depmod", "kmod"),
        ("xz", "xz"),
        ("zstd", "zstd"),
    ];
    let mut missing: Vec<String> = TOOLS
        .iter()
        .filter(|(tool, _)| !process::exists(tool))
        .map(|(tool, what)| format!("  {tool}: {what}"))
        .collect();
    if ![
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_CODE.fd",
    ]
    .iter()
    .any(|path| Path::new(path).exists())
    {
        missing.push("  /usr/share/OVMF/OVMF_CODE_4M.fd: UEFI firmware (edk2, OVMF)".to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this is not Debian or Ubuntu, so nothing is installed for you. Missing:\n{}",
        missing.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_counts() {
        let known = "mtools installed\novmf config-files\nmtools-x installed\n";
        assert!(is_installed(known, "mtools"));
        assert!(!is_installed(known, "ovmf"));
        assert!(!is_installed(known, "kmod"));
    }

    #[test]
    fn the_candidate_of_a_policy() {
        let policy =
            "qemu-system-x86:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7\n  Version table:\n";
        assert_eq!(parse_candidate(policy).as_deref(), Some("1:7.2+dfsg-7"));
        assert_eq!(parse_candidate("x:\n  Candidate: (none)\n"), None);
    }

    #[test]
    fn a_pinned_package_is_not_named_twice() {
        let extra = ["--allow-downgrades".to_owned(), "qemu-utils=1".to_owned()];
        let arguments = install_arguments(&["kmod", "qemu-utils"], &extra);
        assert_eq!(
            arguments[3..],
            ["--allow-downgrades", "qemu-utils=1", "kmod"]
        );
    }
}
