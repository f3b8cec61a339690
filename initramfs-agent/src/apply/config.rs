//! The configuration: fetched once a token, checked, and carried out operation by operation, or left
//! where the image's own Ignition looks.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{Operation, Operations, Stage};
use hardway_model::desired::ConfigApplier;
use hardway_model::identity::Sha256;
use hardway_model::messages::ConfigRequest;
use sha2::Digest;

use super::content::Sources;
use super::filesystem::Mounted;
use super::kernel_arguments::{self, Edit};
use super::modules::Modules;
use super::mount::Mounts;
use super::own_ignition::Place;
use super::root::TargetRoot;
use super::{Execution, accounts, enablement, files, order, persist, relabel, result, units};
use crate::patience::patiently;
use crate::reports::Reports;

/// The bytes that the appliance served, as they came, and their hash.
#[derive(Clone)]
pub struct FetchedConfig {
    json: Vec<u8>,
    sha256: Sha256,
}

impl FetchedConfig {
    /// What it says, for a system to which the agent applies it.
    pub fn operations(&self) -> Result<Operations> {
        serde_json::from_slice(&self.json).context("parsing the configuration's operations")
    }

    /// What becomes of kernel arguments: first the plan's `own` ones, then what the configuration says.
    pub fn kernel_arguments(&self, applier: ConfigApplier, own: &[String]) -> Result<Vec<Edit>> {
        let mut edits = Vec::new();
        if !own.is_empty() {
            edits.push(Edit {
                wanted: own.to_vec(),
                unwanted: Vec::new(),
            });
        }
        if Place::of(applier).is_none() {
            edits.extend(self.operations()?.operations.into_iter().filter_map(edit));
        }
        Ok(edits)
    }
}

fn edit(operation: Operation) -> Option<Edit> {
    match operation {
        Operation::KernelArguments {
            should_exist,
            should_not_exist,
        } => Some(Edit {
            wanted: should_exist,
            unwanted: should_not_exist,
        }),
        _ => None,
    }
}

/// Fetches the configuration, or takes the one that an earlier try fetched.
pub fn fetch(execution: &mut Execution<'_>, expected: Sha256) -> Result<FetchedConfig> {
    if let Some(config) = execution
        .config
        .as_ref()
        .filter(|config| config.sha256 == expected)
    {
        return Ok(config.clone());
    }
    let appliance = execution.appliance;
    let request = ConfigRequest {
        token: appliance.token().to_owned(),
    };
    let json = patiently(execution.reports, || {
        appliance.post("/agent/v1/config", &request)
    })
    .context("fetching the configuration")?;
    let sha256 = Sha256(sha2::Sha256::digest(&json).into());
    if sha256 != expected {
        bail!("the configuration has SHA-256 {sha256}, and the plan was made with {expected}");
    }
    let config = FetchedConfig { json, sha256 };
    *execution.config = Some(config.clone());
    Ok(config)
}

/// Applies it to the mounted system. Kernel arguments are set already, on every partition of the disk.
pub fn apply(
    config: &FetchedConfig,
    applier: ConfigApplier,
    system: &Mounted,
    execution: &mut Execution<'_>,
) -> Result<String> {
    match Place::of(applier) {
        None => {
            let mut work = config.operations()?;
            let is_done = |work: &Operation| matches!(work, Operation::KernelArguments { .. });
            work.operations.retain(|work| !is_done(work));
            let mut modules = Modules::Store(&mut *execution.drivers);
            carry_out(&work, system.path(), execution.reports, &mut modules)
        }
        Some(place) => place.leave(&system.root()?, &config.json),
    }
}

/// The mount stage, the files stage, and the end of what was mounted for them.
pub fn carry_out(
    work: &Operations,
    top: &Path,
    reports: &Reports,
    modules: &mut Modules<'_>,
) -> Result<String> {
    let sources = Sources {
        fetching: &work.fetching,
        reports,
    };
    let root = TargetRoot::open(top)?;
    let mut mounts = Mounts::default();
    mounts.add_all(work, top, &root, modules)?;
    files_stage_below(&work.operations, &root, &sources, mounts.made())?;
    drop(root);
    mounts.unmount()?;
    Ok(format!("{} operations applied", work.operations.len()))
}

/// Carries the operations of the files stage out, where nothing was mounted for them.
#[cfg(test)]
pub fn files_stage(
    operations: &[Operation],
    root: &TargetRoot,
    sources: &Sources<'_>,
) -> Result<()> {
    files_stage_below(operations, root, sources, &[])
}

/// Carries the operations of the files stage out. Directories, files and links are arranged once the
/// users are there, and before the first of them is made. `made` are the directories that the mount
/// stage made: those in a user's home become the user's own.
fn files_stage_below(
    operations: &[Operation],
    root: &TargetRoot,
    sources: &Sources<'_>,
    made: &[String],
) -> Result<()> {
    let operations: Vec<Operation> = operations
        .iter()
        .filter(|operation| operation.stage() == Stage::Files)
        .cloned()
        .collect();
    let run = |operations: &[Operation]| {
        operations.iter().try_for_each(|operation| {
            execute(operation, root, sources)
                .and_then(|()| match operation {
                    Operation::EnsureUser(user) => accounts::take_over(root, &user.name, made),
                    _ => Ok(()),
                })
                .with_context(|| format!("applying {} {}", name(operation), operation.subject()))
        })
    };
    let first = operations.iter().position(order::is_entry);
    let (before, rest) = operations.split_at(first.unwrap_or(operations.len()));
    let count = rest
        .iter()
        .take_while(|operation| order::is_entry(operation))
        .count();
    let (entries, after) = rest.split_at(count);
    run(before)?;
    run(&order::arrange(root, entries)?)?;
    run(after)
}

fn execute(operation: &Operation, root: &TargetRoot, sources: &Sources<'_>) -> Result<()> {
    match operation {
        Operation::KernelArguments { .. } => {
            let paths = kernel_arguments::files(root)?;
            kernel_arguments::must_be_some(paths.len())?;
            kernel_arguments::edit(root, &paths, &Vec::from_iter(edit(operation.clone())))
        }
        Operation::CreateGroup(group) => accounts::ensure_group(root, group),
        Operation::DeleteGroup { name } => accounts::delete_group(root, name),
        Operation::EnsureUser(user) => accounts::ensure_user(root, user),
        Operation::DeleteUser { name } => accounts::delete_user(root, name),
        Operation::AuthorizeKeys {
            user,
            keys,
            whole_file,
        } => accounts::authorize_keys(root, user, keys, *whole_file),
        Operation::Directory(directory) => files::directory(root, directory),
        Operation::File(file) => files::file(root, file, sources),
        Operation::Symlink(link) => files::symlink(root, link),
        Operation::HardLink(link) => files::hard_link(root, link),
        Operation::UnitFile { path, contents } => units::write(root, path, contents),
        Operation::Mask { path } => units::mask(root, path),
        Operation::Unmask { path } => units::unmask(root, path),
        Operation::PresetLine {
            line,
            only_if_enabled,
        } => {
            units::preset(root, line, only_if_enabled)?;
            enablement::apply(root, line)
        }
        Operation::PersistVolumes { volumes } => persist::volumes(root, volumes),
        Operation::WriteResult {
            user_config_provided,
        } => result::write(root, *user_config_provided),
        Operation::Relabel { paths } => relabel::run(root, paths),
        Operation::WriteTable(_)
        | Operation::CreateArray(_)
        | Operation::OpenVolume(_)
        | Operation::MakeFilesystem(_)
        | Operation::Mount(_) => bail!("this is not of the files stage"),
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::KernelArguments { .. } => "the",
        Operation::CreateGroup(_) | Operation::DeleteGroup { .. } => "group",
        Operation::EnsureUser(_) | Operation::DeleteUser { .. } => "user",
        Operation::AuthorizeKeys { .. } => "keys of",
        Operation::Directory(_) => "directory",
        Operation::File(_) => "file",
        Operation::Symlink(_) => "link",
        Operation::HardLink(_) => "hard link",
        Operation::UnitFile { .. } => "unit",
        Operation::Mask { .. } => "mask",
        Operation::Unmask { .. } => "unmask",
        Operation::PresetLine { .. } => "preset",
        _ => "the",
    }
}
