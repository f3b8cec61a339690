//! The configuration: fetched once a token, checked, and carried out operation by operation, or left
//! where the image's own Ignition looks.

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{Operation, Operations};
use hardway_model::desired::ConfigApplier;
use hardway_model::identity::Sha256;
use hardway_model::messages::ConfigRequest;
use sha2::Digest;

use super::files::Sources;
use super::filesystem::Mounted;
use super::root::{Attributes, TargetRoot};
use super::{Execution, accounts, enablement, files, kernel_arguments, units};
use crate::patience::patiently;

/// The bytes that the appliance served, as they came, and their hash.
#[derive(Clone)]
pub struct FetchedConfig {
    json: Vec<u8>,
    sha256: Sha256,
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

/// Applies it to the mounted system.
pub fn apply(
    config: &FetchedConfig,
    applier: ConfigApplier,
    arguments: &[String],
    system: &Mounted,
    execution: &Execution<'_>,
) -> Result<String> {
    let root = system.root()?;
    if !arguments.is_empty() {
        kernel_arguments::edit(&root, arguments, &[]).context("setting kernel arguments")?;
    }
    match applier {
        ConfigApplier::Agent => {
            let sources = Sources {
                appliance: execution.appliance,
                reports: execution.reports,
            };
            carry_out(&config.json, &root, &sources)
        }
        ConfigApplier::FedoraCoreos => leave(&root, "/ignition/config.ign", &config.json),
        ConfigApplier::Flatcar => leave(&root, "/config.ign", &config.json),
    }
}

fn carry_out(json: &[u8], root: &TargetRoot, sources: &Sources<'_>) -> Result<String> {
    let work: Operations =
        serde_json::from_slice(json).context("parsing the configuration's operations")?;
    let operations = work.operations;
    for operation in &operations {
        execute(operation, root, sources)
            .with_context(|| format!("applying {} {}", name(operation), operation.subject()))?;
    }
    Ok(format!("{} operations applied", operations.len()))
}

fn execute(operation: &Operation, root: &TargetRoot, sources: &Sources<'_>) -> Result<()> {
    match operation {
        Operation::KernelArguments {
            should_exist,
            should_not_exist,
        } => kernel_arguments::edit(root, should_exist, should_not_exist).map(drop),
        Operation::CreateGroup(group) => accounts::create_group(root, group),
        Operation::DeleteGroup { name } => accounts::delete_group(root, name),
        Operation::EnsureUser(user) => accounts::ensure_user(root, user),
        Operation::DeleteUser { name } => accounts::delete_user(root, name),
        Operation::AuthorizeKeys { user, keys, .. } => accounts::authorize_keys(root, user, keys),
        Operation::Directory(directory) => files::directory(root, directory),
        Operation::File(file) => files::file(root, file, sources),
        Operation::Symlink(link) => files::symlink(root, link),
        Operation::HardLink(link) => files::hard_link(root, link),
        Operation::Mask { path } => units::mask(root, path),
        Operation::Unmask { path } => units::unmask(root, path),
        Operation::PresetLine {
            line,
            only_if_enabled,
        } => {
            units::preset(root, line, only_if_enabled)?;
            enablement::apply(root, line)
        }
        other => bail!("this agent does not carry out `{}`", other.subject()),
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
        Operation::Mask { .. } => "mask",
        Operation::Unmask { .. } => "unmask",
        Operation::PresetLine { .. } => "preset",
        _ => "the",
    }
}

fn leave(root: &TargetRoot, path: &str, json: &[u8]) -> Result<String> {
    if root.kind(path)?.is_some() {
        bail!("{path} is there already");
    }
    if let Some((folder, _)) = path
        .rsplit_once('/')
        .filter(|(folder, _)| !folder.is_empty())
        && root.kind(folder)?.is_none()
    {
        root.make_directory(folder, &Attributes::root(0o700))?;
    }
    root.replace(path, json, &Attributes::root(0o600))?;
    Ok(format!(
        "the configuration stands at {path} for the image's own Ignition"
    ))
}
