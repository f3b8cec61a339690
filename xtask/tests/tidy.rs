//! Rules of the code base that no compiler checks. Each failure names the file and the rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that reach no file, socket, clock or random source.
const PURE: [&str; 4] = [
    "crates/model",
    "crates/netboot",
    "crates/ignition",
    "crates/image",
];

/// What a pure crate's sources may not name. Tests below `tests/` may read fixtures.
const IMPURE_PATHS: [&str; 13] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "UdpSocket",
    "SystemTime",
    "Instant::now",
    "getrandom",
    "rand::",
];

/// What a pure crate may not depend on: runtimes, sockets, system calls, randomness, HTTP.
const IMPURE_CRATES: [&str; 11] = [
    "tokio",
    "socket2",
    "nix",
    "rustix",
    "libc",
    "getrandom",
    "rand",
    "ureq",
    "hyper",
    "axum",
    "redb",
];

/// Who may know whom among the workspace's crates.
const MAY_KNOW: [(&str, &[&str]); 12] = [
    ("crates/model", &[]),
    ("crates/ignition", &[]),
    ("crates/userspace", &[]),
    ("crates/netboot", &["model"]),
    ("crates/image", &["model"]),
    ("crates/fetch", &["ignition"]),
    ("crates/recognition", &["model"]),
    (
        "appliance",
        &[
            "model",
            "netboot",
            "ignition",
            "image",
            "fetch",
            "userspace",
            "recognition",
        ],
    ),
    (
        "initramfs-agent",
        &[
            "model",
            "ignition",
            "image",
            "fetch",
            "userspace",
            "recognition",
        ],
    ),
    ("qemu-tests", &["model", "userspace"]),
    ("crates/bench", &[]),
    ("xtask", &[]),
];

/// Lines a source file may have. Past about 400 it wants to be split by idea.
const LONGEST_FILE: usize = 450;

#[test]
fn every_file_opens_with_what_it_is() {
    let silent = rust_files()
        .into_iter()
        .filter(|file| !read(file).starts_with("//!"));
    report("a file opens with `//!`", silent.map(|file| show(&file)));
}

#[test]
fn files_stay_small() {
    let long = rust_files().into_iter().filter_map(|file| {
        let lines = read(&file).lines().count();
        (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines", show(&file)))
    });
    report("a file stays under the budget; split it by idea", long);
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in parts, so that this list does not find itself.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
        ["#[should_", "panic"],
    ];
    let left = rust_files().into_iter().flat_map(|file| {
        let text = read(&file);
        let found = marks
            .iter()
            .map(|parts| parts.concat())
            .filter(|mark| text.contains(mark));
        found
            .map(|mark| format!("{}: {mark}", show(&file)))
            .collect::<Vec<_>>()
    });
    report("no work is left behind in the code", left);
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let vague = [
        "util", "utils", "helper", "helpers", "common", "manager", "misc",
    ];
    let badly_named = rust_files().into_iter().filter(|file| {
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        vague.contains(&stem)
    });
    report(
        "a module is named after its noun",
        badly_named.map(|file| show(&file)),
    );
}

#[test]
fn pure_sources_do_not_reach_the_world() {
    let reaching = PURE
        .iter()
        .flat_map(|folder| files_below(&format!("{folder}/src")))
        .flat_map(|file| {
            let code = without_tests_and_comments(&read(&file));
            let found = IMPURE_PATHS.iter().filter(|path| code.contains(*path));
            found
                .map(|path| format!("{}: {path}", show(&file)))
                .collect::<Vec<_>>()
        });
    report(
        "a pure crate reaches no file, socket, clock or random source",
        reaching,
    );
}

#[test]
fn pure_manifests_do_not_reach_the_world() {
    let reaching = PURE.iter().flat_map(|folder| {
        let names = dependencies(folder);
        let found = names
            .into_iter()
            .filter(|name| IMPURE_CRATES.contains(&name.as_str()));
        found
            .map(|name| format!("{folder}/Cargo.toml: {name}"))
            .collect::<Vec<_>>()
    });
    report("a pure crate depends on no runtime", reaching);
}

#[test]
fn crates_know_only_whom_they_may() {
    let mut wrong = Vec::new();
    for (folder, allowed) in MAY_KNOW {
        for name in dependencies(folder) {
            if let Some(ours) = name.strip_prefix("hardway-")
                && !allowed.contains(&ours)
            {
                wrong.push(format!("{folder}/Cargo.toml: {name}"));
            }
        }
    }
    report(
        "a crate knows only whom ARCHITECTURE.md lets it know",
        wrong.into_iter(),
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in tracked()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "md"))
    {
        for target in relative_links(&read(&file)) {
            let base = file.parent().unwrap_or(Path::new("."));
            if !base.join(&target).exists() {
                broken.push(format!("{}: {target}", show(&file)));
            }
        }
    }
    report(
        "a relative link leads to a file of the project",
        broken.into_iter(),
    );
}

#[test]
fn the_repository_holds_no_large_files() {
    let large = tracked().into_iter().filter_map(|file| {
        let size = fs::metadata(&file).ok()?.len();
        (size > 1_000_000).then(|| format!("{}: {size} bytes", show(&file)))
    });
    report("data over 1 MB is generated, not committed", large);
}

/// Fails with every finding, or passes silently.
fn report(rule: &str, findings: impl Iterator<Item = String>) {
    let findings: Vec<String> = findings.collect();
    assert!(
        findings.is_empty(),
        "rule: {rule}\n  {}",
        findings.join("\n  ")
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn show(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Files that git tracks or would track.
fn tracked() -> Vec<PathBuf> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the project's files");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let files: Vec<PathBuf> = listing
        .lines()
        .map(|line| root().join(line))
        .filter(|file| file.is_file())
        .collect();
    assert!(files.len() > 20, "git listed only {} files", files.len());
    files
}

fn rust_files() -> Vec<PathBuf> {
    tracked()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

fn files_below(folder: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    rust_files()
        .into_iter()
        .filter(|file| file.starts_with(&folder))
        .collect()
}

/// What stands before the tests module, comments left out.
fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names under `[dependencies]` of a manifest.
fn dependencies(folder: &str) -> Vec<String> {
    let text = read(&root().join(folder).join("Cargo.toml"));
    let manifest: toml::Table = text
        .parse()
        .unwrap_or_else(|error| panic!("{folder}/Cargo.toml: {error}"));
    let table = manifest
        .get("dependencies")
        .and_then(|value| value.as_table());
    table
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Targets of `[text](target)` that are neither web addresses nor anchors.
fn relative_links(markdown: &str) -> Vec<String> {
    let targets = markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next());
    targets
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        })
        .map(str::to_owned)
        .collect()
}
