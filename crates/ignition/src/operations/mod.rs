//! A valid config → the ordered operations of its files stage.
//!
//! What cannot be done is refused here, when the plan is made, and never halfway through a disk.

mod files;
mod passwd;
mod resource;
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
/// Everything in the config that this program does not do, or that is unsafe to do.
pub fn operations(
    config: &Config,
    circumstances: &Circumstances<'_>,
) -> Result<Operations, Vec<Problem>> {
    let mut plan = Plan::default();
    refuse_other_stages(config, &mut plan);
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
    if plan.problems.is_empty() {
        Ok(Operations {
            operations: plan.operations,
            ..Operations::default()
        })
    } else {
        Err(plan.problems)
    }
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

fn refuse_other_stages(config: &Config, plan: &mut Plan) {
    let storage = &config.storage;
    for (key, is_empty) in [
        ("disks", storage.disks.is_empty()),
        ("raid", storage.raid.is_empty()),
        ("luks", storage.luks.is_empty()),
        ("filesystems", storage.filesystems.is_empty()),
    ] {
        if !is_empty {
            let message =
                format!("{key} are not set up by the agent: that comes with the disks stage");
            plan.refuse(format!("$.storage.{key}"), message);
        }
    }
    let references = &config.ignition.config;
    if !references.merge.is_empty() {
        let message =
            "other configs are not fetched: list them as config parts in cluster.yaml instead";
        plan.refuse("$.ignition.config.merge", message);
    }
    if references
        .replace
        .source
        .as_deref()
        .is_some_and(|source| !source.is_empty())
    {
        plan.refuse(
            "$.ignition.config.replace",
            "a replacement of this config is not fetched",
        );
    }
    if config.ignition.proxy != Default::default() {
        plan.refuse("$.ignition.proxy", "the agent fetches without a proxy");
    }
    if !config
        .ignition
        .security
        .tls
        .certificate_authorities
        .is_empty()
    {
        let path = "$.ignition.security.tls.certificateAuthorities";
        plan.refuse(path, "the agent knows no certificate authorities");
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
