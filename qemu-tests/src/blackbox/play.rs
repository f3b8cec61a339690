//! One case, in the guest: its disks are made, the programs run, and the disks compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardway_userspace::mounts::{self, Flags};

use super::certificates::Authorities;
use super::corpus::{Case, Partition};
use super::loops::Loop;
use super::program::{self, Finished};
use super::report::Outcome;
use super::servers::Servers;
use super::{accounts, compare, disks, guid, parts, substitute};

/// A stage takes no longer, under emulation on a busy computer either: making a LUKS volume's key and
/// binding it to a TPM are minutes then. Upstream allows a minute for a whole case on real hardware.
const STAGE_LIMIT: Duration = Duration::from_secs(360);
const HARDWAY: &str = "/blackbox/hardway";
const AGENT: &str = "/blackbox/hardway-agent";

/// What all cases share.
pub struct Stand {
    /// For the disks: a tmpfs.
    pub folder: PathBuf,
    /// Who answers.
    pub servers: Servers,
    /// Whose certificates they have.
    pub authorities: std::sync::Arc<Authorities>,
}

/// How far the programs got.
enum Played {
    /// Every stage succeeded.
    Through,
    /// One refused.
    Refused(String),
}

/// Plays a case. Whatever it made is taken away again.
pub fn play(case: &Case, stand: &Stand) -> Outcome {
    let outcome = attempt(case.clone(), stand);
    let cleaned = clean_up(&stand.folder);
    match (outcome, cleaned) {
        (Ok(outcome), Ok(())) => outcome,
        (Ok(outcome), Err(error)) => {
            eprintln!("{}: cleaning up: {error:#}", case.name);
            outcome
        }
        (Err(error), _) => Outcome::Failed(format!("it could not be run: {error:#}")),
    }
}

fn attempt(mut case: Case, stand: &Stand) -> Result<Outcome> {
    if needs_tpm(&case) && !Path::new("/sys/class/tpm/tpm0").exists() {
        return Ok(Outcome::Skipped(
            "this guest has no TPM: swtpm is not there".to_owned(),
        ));
    }
    substitute::names(&mut case, guid::random);
    let loops = disks::make(&case, &stand.folder)?;
    let devices: Vec<String> = loops.iter().map(|device| device.path.clone()).collect();
    if let Err(problem) = substitute::devices(&mut case, &devices) {
        return Ok(Outcome::Failed(format!("the case is odd: {problem}")));
    }
    let root = root_of(&case, &loops)?;
    prepare_root(&case, &root, &stand.folder)?;

    let played = stages(&case, &loops, &root, stand)?;
    Ok(match (played, case.must_fail) {
        (Played::Refused(why), true) => {
            eprintln!("{}: {why}", case.name);
            Outcome::Passed
        }
        (Played::Through, true) => Outcome::Wrote,
        (Played::Refused(why), false) => Outcome::Failed(why),
        (Played::Through, false) => judge(&case, &loops, &stand.folder)?,
    })
}

fn judge(case: &Case, loops: &[Loop], folder: &Path) -> Result<Outcome> {
    let mut differences = Vec::new();
    for (index, (expected, attached)) in case.after.iter().zip(loops).enumerate() {
        let found = compare::disk(expected, attached, folder)?;
        differences.extend(
            found
                .into_iter()
                .map(|text| format!("disk {index}, {text}")),
        );
    }
    Ok(match differences.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Failed(differences.join("; ")),
    })
}

/// The device of the partition called ROOT, and how it is formatted.
struct Root {
    device: String,
    filesystem: String,
}

fn root_of(case: &Case, loops: &[Loop]) -> Result<Root> {
    let partitions = case.before.iter().zip(loops);
    let mut found = partitions.flat_map(|(disk, device)| {
        let is_root =
            |partition: &&Partition| partition.label == "ROOT" && partition.is_formatted();
        disk.partitions
            .iter()
            .filter(is_root)
            .map(move |partition| Root {
                device: device.partition(partition.number),
                filesystem: partition.fs_type.clone(),
            })
    });
    found.next().context("no disk has a partition called ROOT")
}

fn prepare_root(case: &Case, root: &Root, folder: &Path) -> Result<()> {
    let place = folder.join("root");
    mounts::mount(&root.device, &place, &root.filesystem, Flags::empty(), "")?;
    let outcome = accounts::prepare(case, &place);
    mounts::unmount(&place)?;
    outcome
}

fn stages(case: &Case, loops: &[Loop], root: &Root, stand: &Stand) -> Result<Played> {
    let folder = &stand.folder;
    let operations = folder.join("operations.json");
    let planned = program::run(&mut plan(case, loops, stand)?, STAGE_LIMIT, folder)?;
    if let Some(refusal) = refusal(&planned, "plan")? {
        return Ok(Played::Refused(refusal));
    }
    fs::write(&operations, &planned.output).context("keeping the operations")?;

    let mut agent = apply(&operations, "disks");
    let done = program::run(&mut agent, STAGE_LIMIT, folder)?;
    if let Some(refusal) = refusal(&done, "disks stage")? {
        return Ok(Played::Refused(refusal));
    }
    let place = folder.join("root");
    mounts::mount(&root.device, &place, &root.filesystem, Flags::empty(), "")?;
    let mut agent = apply(&operations, "files");
    let done = program::run(agent.arg("--root").arg(&place), STAGE_LIMIT, folder);
    mounts::unmount(&place)?;
    Ok(match refusal(&done?, "files stage")? {
        Some(refusal) => Played::Refused(refusal),
        None => Played::Through,
    })
}

/// The planner's command line: every part, every disk, and what the environment asks for.
fn plan(case: &Case, loops: &[Loop], stand: &Stand) -> Result<Command> {
    let mut command = Command::new(HARDWAY);
    command.args(["ignition", "operations", "--json"]);
    for (index, part) in parts::of(case).iter().enumerate() {
        let part = stand
            .servers
            .substitute(case, &stand.authorities.rewrite(part))?;
        let file = stand.folder.join(format!("{index:02}.ign"));
        fs::write(&file, part).with_context(|| format!("writing {}", file.display()))?;
        command.arg(file);
    }
    for device in loops {
        command.args(["--disk", &device.path]);
    }
    if let Some(line) = parts::kernel_command_line(case) {
        put_where_it_points(line, &case.config)?;
        let file = stand.folder.join("command-line");
        fs::write(&file, line).context("writing the kernel command line")?;
        command.arg("--kernel-command-line").arg(file);
    }
    let whole_file = "IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT=false";
    if case.env.iter().any(|line| line == whole_file) {
        command.arg("--authorized-keys-file");
    }
    Ok(command)
}

/// Upstream's test writes the case's config to the file that the kernel command line names.
fn put_where_it_points(line: &str, config: &str) -> Result<()> {
    let mut words = line.split_ascii_whitespace();
    let path = words.find_map(|word| word.strip_prefix("ignition.config.url=file://"));
    let Some(path) = path.map(Path::new).filter(|path| !path.exists()) else {
        return Ok(());
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, config).with_context(|| format!("writing {}", path.display()))
}

fn apply(operations: &Path, stage: &str) -> Command {
    let mut command = Command::new(AGENT);
    command.arg("apply").arg("--operations").arg(operations);
    command.args(["--stage", stage]);
    command
}

/// What a stage said when it refused.
///
/// # Errors
///
/// Any other end than status 0 or 1: a wrong command line, a panic or a signal is no refusal.
fn refusal(finished: &Finished, stage: &str) -> Result<Option<String>> {
    match finished.status.code() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(format!("the {stage} refused: {}", finished.said))),
        _ => bail!(
            "the {stage} ended with {}: {}",
            finished.status,
            finished.said
        ),
    }
}

fn needs_tpm(case: &Case) -> bool {
    case.config.contains("\"tpm2\"") && !case.must_fail
}

/// Unmounts, closes and removes whatever a case left behind, so that the next one starts afresh.
fn clean_up(folder: &Path) -> Result<()> {
    let mounted = fs::read_to_string("/proc/mounts")?;
    let below = mounted
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| Path::new(path).starts_with(folder) && Path::new(path) != folder);
    for path in below.collect::<Vec<_>>().into_iter().rev() {
        mounts::unmount(Path::new(path))?;
    }
    let scratch = Path::new("/tmp");
    for entry in fs::read_dir("/dev/mapper").into_iter().flatten().flatten() {
        if entry.file_name() != "control" {
            let mut close = Command::new("cryptsetup");
            // A volume that is held by another is closed with the next case's at the latest.
            let _ = program::tool(close.arg("close").arg(entry.path()), scratch);
        }
    }
    let arrays = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    if arrays.contains("md") && arrays.lines().any(|line| line.starts_with("md")) {
        let _ = program::tool(Command::new("mdadm").args(["--stop", "--scan"]), scratch);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    Ok(())
}
