//! Readiness checks: HTTP questions to machines that run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hardway_model::cluster::{Check, Cluster, Machine, template};
use hardway_model::lifecycle::Phase;
use hardway_model::view::CheckView;
use tokio::task::JoinSet;

use crate::context::Context;

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);
/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read, and characters of it that are shown.
const BODY: u64 = 64 * 1024;
const SHOWN: usize = 120;

/// The outcome of the last round, by machine name.
#[derive(Default)]
pub struct Results(Mutex<BTreeMap<String, Vec<CheckView>>>);

impl Results {
    /// The checks of one machine; empty as long as it was not asked.
    pub fn of(&self, machine: &str) -> Vec<CheckView> {
        let results = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        results.get(machine).cloned().unwrap_or_default()
    }

    fn replace(&self, machine: &str, views: Vec<CheckView>) -> bool {
        let mut results = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = match views.is_empty() {
            true => results.remove(machine).unwrap_or_default(),
            false => results
                .insert(machine.to_owned(), views.clone())
                .unwrap_or_default(),
        };
        let verdicts = |views: &[CheckView]| views.iter().map(|view| view.ok).collect::<Vec<_>>();
        verdicts(&before) != verdicts(&views)
    }
}

/// Asks every running machine, round after round.
pub async fn run(context: Context) -> anyhow::Result<()> {
    loop {
        let snapshot = context.fleet.snapshot();
        if let Some(cluster) = &snapshot.cluster {
            let mut round = JoinSet::new();
            for machine in &cluster.machines {
                let state = snapshot.machines.get(&machine.name);
                let runs = state.is_some_and(|state| state.phase == Phase::Running);
                let (cluster, machine) = (Arc::clone(cluster), machine.clone());
                round.spawn_blocking(move || {
                    let views = if runs {
                        ask(&cluster, &machine)
                    } else {
                        Vec::new()
                    };
                    (machine.name, views)
                });
            }
            while let Some(asked) = round.join_next().await {
                let (name, views) = asked?;
                if context.checks.replace(&name, views) {
                    context.fleet.announce(&name);
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn ask(cluster: &Cluster, machine: &Machine) -> Vec<CheckView> {
    let of_profile = |check: &&Check| check.profile == machine.profile;
    let checks = cluster.checks.iter().filter(of_profile);
    checks
        .map(|check| {
            let answer = fetch(check, cluster, machine);
            let (ok, detail) = match &answer {
                Ok(body) => judge(check, body),
                Err(error) => (false, error.clone()),
            };
            CheckView {
                name: check.name.clone(),
                ok,
                detail: detail.chars().take(SHOWN).collect(),
            }
        })
        .collect()
}

fn fetch(check: &Check, cluster: &Cluster, machine: &Machine) -> Result<String, String> {
    let url = template::render(
        &check.http,
        &format!("checks: {}", check.name),
        cluster,
        machine,
    )
    .map_err(|error| error.to_string())?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let mut response = agent.get(&url).call().map_err(|error| error.to_string())?;
    let body = response.body_mut().with_config().limit(BODY);
    body.read_to_string().map_err(|error| error.to_string())
}

fn judge(check: &Check, body: &str) -> (bool, String) {
    match &check.contains {
        Some(wanted) if !body.contains(wanted.as_str()) => {
            (false, format!("the answer lacks {wanted}: {}", body.trim()))
        }
        _ => (true, body.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_text() {
        let mut check = Check {
            name: "etcd".into(),
            profile: "etcd".into(),
            http: String::new(),
            contains: Some("\"health\":\"true\"".into()),
        };
        assert!(judge(&check, "{\"health\":\"true\"}\n").0);
        let (ok, detail) = judge(&check, "{\"health\":\"false\"}");
        assert!(!ok && detail.contains("lacks"), "{detail}");
        check.contains = None;
        assert!(judge(&check, "").0);
    }

    #[test]
    fn only_a_changed_verdict_is_news() {
        let results = Results::default();
        let view = |ok, detail: &str| CheckView {
            name: "etcd".into(),
            ok,
            detail: detail.into(),
        };
        assert!(results.replace("node1", vec![view(false, "refused")]));
        assert!(!results.replace("node1", vec![view(false, "timed out")]));
        assert!(results.replace("node1", vec![view(true, "{}")]));
        assert!(results.of("node1")[0].ok);
        assert!(results.replace("node1", Vec::new()));
        assert!(results.of("node1").is_empty());
    }
}
