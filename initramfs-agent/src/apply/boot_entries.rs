//! How an installed system says what is to be booted: GRUB's configuration, and entries of the
//! Boot Loader Specification (type 1). Read for kexec, edited for kernel arguments.

use anyhow::{Context, Result, bail};

use super::root::TargetRoot;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// The kernel's path.
    pub kernel: String,
    /// Paths of what is loaded with it, in order.
    pub initrds: Vec<String>,
    /// The kernel's arguments.
    pub arguments: String,
}

/// The entry that would be booted by default, from whatever the filesystem holds.
pub fn default_entry(root: &TargetRoot) -> Result<Option<BootEntry>> {
    for folder in ENTRIES {
        // The newest version sorts last, as boot loaders take it.
        if let Some(name) = entry_names(root, folder)?.pop() {
            return Ok(Some(parse_entry(&text(
                root,
                &format!("{folder}/{name}"),
            )?)?));
        }
    }
    for path in GRUB {
        if root.read(path)?.is_some() {
            return Ok(Some(parse_grub(&text(root, path)?)?));
        }
    }
    Ok(None)
}

/// The names of the entries in a folder, sorted by the numbers in them as well as by letters.
pub fn entry_names(root: &TargetRoot, folder: &str) -> Result<Vec<String>> {
    let mut names = root.list(folder)?;
    names.retain(|name| name.ends_with(".conf"));
    names.sort_by_cached_key(|name| version_key(name));
    Ok(names)
}

fn text(root: &TargetRoot, path: &str) -> Result<String> {
    let bytes = root
        .read(path)?
        .with_context(|| format!("{path} is not there"))?;
    String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
}

fn parse_entry(text: &str) -> Result<BootEntry> {
    let mut entry = BootEntry {
        kernel: String::new(),
        initrds: Vec::new(),
        arguments: String::new(),
    };
    for line in text.lines() {
        let (key, value) = line
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((line.trim(), ""));
        match key {
            "linux" => entry.kernel = value.trim().to_owned(),
            "initrd" => entry
                .initrds
                .extend(value.split_whitespace().map(str::to_owned)),
            "options" => {
                if !entry.arguments.is_empty() {
                    entry.arguments.push(' ');
                }
                entry.arguments.push_str(value.trim());
            }
            _ => {}
        }
    }
    checked(entry)
}

/// The first `linux` line with the `initrd` lines that follow it. Menus are not evaluated: an image
/// that chooses by script is started by its own boot loader.
fn parse_grub(text: &str) -> Result<BootEntry> {
    let mut lines = text.lines().map(str::trim);
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

fn checked(entry: BootEntry) -> Result<BootEntry> {
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

/// Numbers compare as numbers: 6.12.9 stands before 6.12.10.
fn version_key(name: &str) -> Vec<(String, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        key.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = after;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "title Debian\nlinux /vmlinuz-6.12\ninitrd /a.img\ninitrd /b.img\noptions root=x\noptions rw\n",
        )
        .unwrap();
        assert_eq!(entry.kernel, "/vmlinuz-6.12");
        assert_eq!(entry.initrds, ["/a.img", "/b.img"]);
        assert_eq!(entry.arguments, "root=x rw");
        let mut names = ["d-6.12.10.conf", "d-6.12.9.conf", "d-6.2.conf"];
        names.sort_by_cached_key(|name| version_key(name));
        assert_eq!(names, ["d-6.2.conf", "d-6.12.9.conf", "d-6.12.10.conf"]);
    }
}
