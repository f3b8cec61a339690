//! A valid config → the ordered operations of its stages.
//!
//! What cannot be done is refused here, when the plan is made, and never halfway through a disk.

pub mod disks;
pub(crate) mod fetching;
mod files;
mod passwd;
mod relabel;
pub(crate) mod resource;
mod systemd;

use crate::config::Config;
use crate::hardware::Hardware;
use crate::operation::{Operation, Operations};
use crate::report::Problem;

/// What the planner needs besides the config.
#[derive(Debug, Clone, Default)]
pub struct Circumstances<'a> {
    /// The machine. Without it everything is judged that can be judged without, and a config that
    /// names devices has no operations for them.
    pub hardware: Option<&'a Hardware>,
    /// The certificate authorities that the config names, fetched: PEM.
    pub authorities: Vec<String>,
    /// The target's sshd does not read `authorized_keys.d`: keys go to `authorized_keys`.
    pub whole_authorized_keys: bool,
}

/// The operations that carry a config out, in their order.
///
/// # Errors
///
/// Everything in the config that this program does not do, that is unsafe to do, or that cannot be
/// done on this machine.
pub fn operations(
    config: &Config,
    circumstances: &Circumstances<'_>,
) -> Result<Operations, Vec<Problem>> {
    let mut plan = Plan::default();
    let fetching = fetching::convert(config, circumstances, &mut plan);
    let volumes = disks::add(&config.storage, circumstances, &mut plan);
    let arguments = &config.kernel_arguments;
    if !arguments.should_exist.is_empty() || !arguments.should_not_exist.is_empty() {
        plan.operations.push(Operation::KernelArguments {
            should_exist: arguments.should_exist.clone(),
            should_not_exist: arguments.should_not_exist.clone(),
        });
    }
    passwd::add(&config.passwd, circumstances, &mut plan);
    files::add(&config.storage, &mut plan);
    systemd::add(&config.systemd, &mut plan);
    if !volumes.is_empty() {
        plan.operations.push(Operation::PersistVolumes { volumes });
    }
    plan.operations.push(Operation::WriteResult {
        user_config_provided: asks_for_something(config),
    });
    plan.operations.extend(relabel::relabel(&plan.operations));
    if plan.problems.is_empty() {
        Ok(Operations {
            fetching,
            operations: plan.operations,
        })
    } else {
        Err(plan.problems)
    }
}

/// Everything that [`operations()`] would refuse on any machine.
pub fn judge(config: &Config) -> Vec<Problem> {
    operations(config, &Circumstances::default())
        .err()
        .unwrap_or_default()
}

/// Whether carrying the config out depends on the machine's block devices.
pub fn needs_hardware(config: &Config) -> bool {
    let storage = &config.storage;
    !(storage.disks.is_empty()
        && storage.raid.is_empty()
        && storage.luks.is_empty()
        && storage.filesystems.is_empty())
}

fn asks_for_something(config: &Config) -> bool {
    let mut of_nothing = Config::empty();
    of_nothing
        .ignition
        .version
        .clone_from(&config.ignition.version);
    *config != of_nothing
}

/// The operations and refusals so far.
#[derive(Default)]
struct Plan {
    operations: Vec<Operation>,
    problems: Vec<Problem>,
}

impl Plan {
    fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message));
    }
}

/// A number that Linux takes as a user's or group's: −1 means "leave it" to chown.
fn owner_number(number: i64, path: &str, plan: &mut Plan) -> Option<u32> {
    match u32::try_from(number) {
        Ok(number) if number != u32::MAX => Some(number),
        _ => {
            plan.refuse(path, format!("{number} is no user or group number"));
            None
        }
    }
}

/// Text that is to stand in a line of passwd or group.
fn check_account_field(text: Option<&str>, path: &str, plan: &mut Plan) {
    if text.is_some_and(|text| text.contains([':', '\n', '\0'])) {
        plan.refuse(path, "a colon or line end cannot stand here");
    }
}
