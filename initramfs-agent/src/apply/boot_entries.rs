//! How an installed system says what is to be booted: GRUB's configuration, and entries of the
//! Boot Loader Specification (type 1). Read for kexec, edited for kernel arguments.

use anyhow::{Context, Result, bail};

use super::root::TargetRoot;
use super::version_order;

/// Where GRUB's configuration stands, relative to the root or to a boot partition of its own.
pub const GRUB: [&str; 4] = [
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/grub/grub.cfg",
    "/grub2/grub.cfg",
];
/// Where entries stand.
pub const ENTRIES: [&str; 3] = [
    "/boot/loader/entries",
    "/loader/entries",
    "/boot/efi/loader/entries",
];

/// What is to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootEntry {
    /// The kernel's path, or that of a unified kernel image.
    pub kernel: String,
    /// Paths of what is loaded with it, in order.
    pub initrds: Vec<String>,
    /// The kernel's arguments.
    pub arguments: String,
    /// Whether kernel and initrd are parts of one EFI program (see [`super::unified_kernel`]).
    pub is_unified: bool,
}

/// The entry that GRUB would boot by default, from whatever the filesystem holds.
pub fn default_entry(root: &TargetRoot) -> Result<Option<BootEntry>> {
    for folder in ENTRIES {
        let names = entry_names(root, folder)?.into_iter();
        if let Some(name) = names.max_by(|one, other| version_order::compare(one, other)) {
            must_not_be_saved(root, name.trim_end_matches(".conf"))?;
            let entry = parse_entry(&text(root, &format!("{folder}/{name}"))?);
            return Ok(Some(checked(entry)?));
        }
    }
    for path in GRUB {
        if root.read(path)?.is_some() {
            must_not_be_saved(root, "0")?;
            return Ok(Some(parse_grub(&text(root, path)?)?));
        }
    }
    Ok(None)
}

/// GRUB's environment block may name another entry than `first`, for once or for good.
fn must_not_be_saved(root: &TargetRoot, first: &str) -> Result<()> {
    for path in GRUB {
        let path = path.replace("grub.cfg", "grubenv");
        let block = root.read(&path)?.unwrap_or_default();
        for line in String::from_utf8_lossy(&block).lines() {
            let value = line
                .strip_prefix("saved_entry=")
                .or_else(|| line.strip_prefix("next_entry="));
            if let Some(value) = value.filter(|value| !["", "0", first].contains(value)) {
                bail!("{path} has GRUB start another entry than the first: {value}");
            }
        }
    }
    Ok(())
}

/// The names of the entries in a folder.
pub fn entry_names(root: &TargetRoot, folder: &str) -> Result<Vec<String>> {
    let mut names = root.list(folder)?;
    names.retain(|name| name.ends_with(".conf"));
    Ok(names)
}

/// A file that is there, as text.
pub fn text(root: &TargetRoot, path: &str) -> Result<String> {
    let bytes = root
        .read(path)?
        .with_context(|| format!("{path} is not there"))?;
    String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
}

/// What an entry of type 1 starts, not checked.
pub fn parse_entry(text: &str) -> BootEntry {
    let mut entry = BootEntry::default();
    for (key, value) in fields(text) {
        match key {
            "linux" => entry.kernel = value.to_owned(),
            "initrd" => entry
                .initrds
                .extend(value.split_whitespace().map(str::to_owned)),
            "options" => {
                if !entry.arguments.is_empty() {
                    entry.arguments.push(' ');
                }
                entry.arguments.push_str(value);
            }
            _ => {}
        }
    }
    entry
}

/// Keys and values of an entry or of `loader.conf`, comments left out.
pub fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(key, value)| (key, value.trim()))
}

/// The first `linux` line with the `initrd` lines that follow it. Menus are not evaluated: an image
/// that chooses by script is started by its own boot loader.
fn parse_grub(text: &str) -> Result<BootEntry> {
    let mut lines = text.lines().map(str::trim);
    // What is in a variable is judged by the environment block that it comes from.
    let default = lines
        .clone()
        .filter_map(|line| line.strip_prefix("set default="))
        .map(|value| value.trim_matches('"'))
        .find(|value| *value != "0" && !value.starts_with('$'));
    if let Some(default) = default {
        bail!("grub.cfg has GRUB start another entry than the first: {default}");
    }
    let kernel = lines
        .find_map(|line| keyword(line, &LINUX))
        .context("grub.cfg has no `linux` line")?;
    let (path, arguments) = kernel
        .split_once(char::is_whitespace)
        .unwrap_or((kernel, ""));
    let initrds = lines
        .take_while(|line| *line != "}" && keyword(line, &LINUX).is_none())
        .filter_map(|line| keyword(line, &INITRD))
        .flat_map(str::split_whitespace);
    checked(BootEntry {
        kernel: without_device(path).to_owned(),
        initrds: initrds
            .map(|path| without_device(path).to_owned())
            .collect(),
        arguments: arguments.trim().to_owned(),
        is_unified: false,
    })
}

/// GRUB's words for loading a kernel.
pub const LINUX: [&str; 3] = ["linux", "linuxefi", "linux16"];
const INITRD: [&str; 3] = ["initrd", "initrdefi", "initrd16"];

/// What follows one of `words` at the beginning of a line.
pub fn keyword<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    let (word, rest) = line.split_once(char::is_whitespace)?;
    words.contains(&word).then(|| rest.trim())
}

/// `($root)/boot/vmlinuz` → `/boot/vmlinuz`.
fn without_device(path: &str) -> &str {
    match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path,
        None => path,
    }
}

/// Refuses an entry that does not say everything itself.
pub fn checked(entry: BootEntry) -> Result<BootEntry> {
    if entry.kernel.is_empty() {
        bail!("the boot entry names no kernel");
    }
    let parts = [
        &entry.initrds[..],
        &[entry.kernel.clone(), entry.arguments.clone()],
    ]
    .concat();
    if let Some(part) = parts.iter().find(|part| part.contains('$')) {
        bail!("the boot entry depends on a boot loader's variable: {part}");
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::root::tests::{own, root};

    #[test]
    fn grub_configurations() {
        let entry = parse_grub(
            "set timeout=1\nmenuentry \"A\" {\n    linux ($root)/boot/vmlinuz root=PARTLABEL=root rw quiet\n    initrd /boot/ucode.img /boot/initrd.img\n}\nmenuentry \"B\" {\n linux /other\n initrd /o\n}\n",
        )
        .unwrap();
        assert_eq!(entry.kernel, "/boot/vmlinuz");
        assert_eq!(entry.initrds, ["/boot/ucode.img", "/boot/initrd.img"]);
        assert_eq!(entry.arguments, "root=PARTLABEL=root rw quiet");
        let none = parse_grub("linux /vmlinuz\n}\ninitrd /x\n").unwrap();
        assert_eq!((none.arguments.as_str(), none.initrds.len()), ("", 0));
        let error = parse_grub("blscfg\n").unwrap_err();
        assert_eq!(error.to_string(), "grub.cfg has no `linux` line");
        let error = parse_grub("linux $kernel root=x\n").unwrap_err();
        assert!(error.to_string().contains("variable: $kernel"));
    }

    #[test]
    fn entries_of_the_boot_loader_specification() {
        let entry = parse_entry(
            "title Debian\nlinux /vmlinuz-6.12\n#options x\ninitrd /a.img\ninitrd /b.img\noptions root=x\noptions rw\n",
        );
        assert_eq!(entry.kernel, "/vmlinuz-6.12");
        assert_eq!(entry.initrds, ["/a.img", "/b.img"]);
        assert_eq!(entry.arguments, "root=x rw");
    }

    #[test]
    fn another_default_of_grub_is_unclear() {
        let parse = |default: &str| {
            let text = format!("{default}\nmenuentry \"A\" {{\nlinux /k\n}}\n");
            parse_grub(&text).map_err(|error| error.to_string())
        };
        for default in ["", "set default=0", "  set default=\"${saved_entry}\""] {
            assert_eq!(parse(default).unwrap().kernel, "/k", "{default}");
        }
        assert_eq!(
            parse("set default=\"2\"").unwrap_err(),
            "grub.cfg has GRUB start another entry than the first: 2"
        );
        let (_folder, root) = root();
        let put = |path: &str, text: &str| {
            root.replace(path, text.as_bytes(), &own(0o644)).unwrap();
        };
        put("/loader/entries/d-6.12.9.conf", "linux /old\n");
        put("/loader/entries/d-6.12.10.conf", "linux /new\n");
        put("/grub2/grubenv", "# GRUB\nsaved_entry=d-6.12.10\n####");
        assert_eq!(default_entry(&root).unwrap().unwrap().kernel, "/new");
        put("/grub2/grubenv", "# GRUB\nsaved_entry=d-6.12.9\n####");
        assert_eq!(
            default_entry(&root).unwrap_err().to_string(),
            "/grub2/grubenv has GRUB start another entry than the first: d-6.12.9"
        );
    }
}
