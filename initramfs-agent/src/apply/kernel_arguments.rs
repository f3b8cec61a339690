//! Kernel arguments of every boot entry on the disk.

use anyhow::{Result, bail};

use super::boot_entries::{ENTRIES, GRUB, LINUX, entry_names, keyword};
use super::loader_entries;
use super::root::{Attributes, TargetRoot};

/// What is to become of the arguments.
pub struct Edit {
    /// Appended where they are missing.
    pub wanted: Vec<String>,
    /// Removed before that, wherever they stand.
    pub unwanted: Vec<String>,
}

/// The files of a filesystem that hold kernel arguments.
///
/// # Errors
///
/// A unified kernel image, which has its arguments in itself, and often a signature over them.
pub fn files(root: &TargetRoot) -> Result<Vec<String>> {
    if let Some(path) = loader_entries::unified_kernel(root)? {
        bail!("{path} is a unified kernel image, whose kernel arguments are set where it is built");
    }
    let mut paths: Vec<String> = Vec::new();
    for path in GRUB {
        if root.exists(path)? {
            paths.push(path.to_owned());
        }
    }
    for folder in ENTRIES {
        paths.extend(
            entry_names(root, folder)?
                .into_iter()
                .map(|name| format!("{folder}/{name}")),
        );
    }
    Ok(paths)
}

/// Edits the arguments in these files.
pub fn edit(root: &TargetRoot, paths: &[String], edits: &[Edit]) -> Result<()> {
    for path in paths {
        let attributes = root.stat(path)?.map(|stat| Attributes::of(&stat));
        let mut text = String::from_utf8(root.read(path)?.unwrap_or_default())?;
        for edit in edits {
            text = text
                .split_inclusive('\n')
                .map(|line| edit_line(line, path.ends_with(".conf"), &edit.wanted, &edit.unwanted))
                .collect();
        }
        root.replace(
            path,
            text.as_bytes(),
            &attributes.unwrap_or(Attributes::root(0o644)),
        )?;
    }
    Ok(())
}

/// Refuses where no file was found at all: the arguments would be lost.
pub fn must_be_some(count: usize) -> Result<()> {
    if count == 0 {
        bail!(
            "the system has neither a GRUB configuration nor boot entries that could take kernel arguments"
        );
    }
    Ok(())
}

/// Edits a line if it holds arguments: `linux PATH ARGUMENTS` of GRUB, `options ARGUMENTS` of an entry.
fn edit_line(line: &str, is_entry: bool, wanted: &[String], unwanted: &[String]) -> String {
    let (body, end) = match line.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (line, ""),
    };
    let indent = body.len() - body.trim_start().len();
    let (indent, content) = body.split_at(indent);
    let rest = if is_entry {
        keyword(content, &["options"])
    } else {
        keyword(content, &LINUX)
    };
    let Some(rest) = rest else {
        return line.to_owned();
    };
    let fixed = content.len() - rest.len();
    // GRUB's line begins with the kernel's path, which is no argument.
    let path = if is_entry {
        0
    } else {
        rest.find(char::is_whitespace).unwrap_or(rest.len())
    };
    let (head, arguments) = content.split_at(fixed + path);
    let edited = edit_arguments(arguments, wanted, unwanted);
    let space = if head.ends_with(char::is_whitespace) {
        ""
    } else {
        " "
    };
    format!("{indent}{head}{space}{edited}{end}")
}

fn edit_arguments(arguments: &str, wanted: &[String], unwanted: &[String]) -> String {
    let mut words: Vec<&str> = arguments.split_whitespace().collect();
    for group in unwanted {
        let group: Vec<&str> = group.split_whitespace().collect();
        while let Some(at) = find(&words, &group) {
            words.drain(at..at + group.len());
        }
    }
    for group in wanted {
        let group: Vec<&str> = group.split_whitespace().collect();
        if find(&words, &group).is_none() {
            words.extend(group);
        }
    }
    words.join(" ")
}

fn find(words: &[&str], group: &[&str]) -> Option<usize> {
    if group.is_empty() {
        return None;
    }
    words
        .windows(group.len())
        .position(|window| window == group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::root::tests::{own, root};
    use crate::apply::unified_kernel::tests::program;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn grub_and_entries_are_edited_alike() {
        let (_folder, root) = root();
        let grub = "set timeout=1\nmenuentry \"A\" {\n    linux /boot/vmlinuz root=x rw quiet quiet\n    initrd /i\n}\n";
        let entry = "title A\noptions root=x console=ttyS0 quiet\n";
        root.replace("/boot/grub/grub.cfg", grub.as_bytes(), &own(0o600))
            .unwrap();
        root.replace("/boot/loader/entries/a.conf", entry.as_bytes(), &own(0o644))
            .unwrap();
        let edits = [Edit {
            wanted: list(&["console=ttyS0", "a b"]),
            unwanted: list(&["quiet"]),
        }];
        for _ in 0..2 {
            let paths = files(&root).unwrap();
            assert_eq!(
                paths,
                ["/boot/grub/grub.cfg", "/boot/loader/entries/a.conf"]
            );
            edit(&root, &paths, &edits).unwrap();
        }
        let read = |path| String::from_utf8(root.read(path).unwrap().unwrap()).unwrap();
        assert_eq!(
            read("/boot/grub/grub.cfg"),
            "set timeout=1\nmenuentry \"A\" {\n    linux /boot/vmlinuz root=x rw console=ttyS0 a b\n    initrd /i\n}\n"
        );
        assert_eq!(
            read("/boot/loader/entries/a.conf"),
            "title A\noptions root=x console=ttyS0 a b\n"
        );
    }

    #[test]
    fn what_cannot_take_arguments_is_an_error() {
        let (_folder, root) = root();
        assert!(files(&root).unwrap().is_empty());
        assert!(must_be_some(0).is_err());
        let image = program(&[(".linux", "K"), (".cmdline", "quiet")]);
        for path in ["/EFI/BOOT/BOOTX64.EFI", "/EFI/Linux/debian.efi"] {
            root.replace(path, &image, &own(0o644)).unwrap();
            let error = files(&root).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{path} is a unified")),
                "{error}"
            );
            root.remove(path).unwrap();
        }
    }
}
