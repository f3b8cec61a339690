//! The report that real Ignition leaves in the target: other programs look for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::root::{Attributes, TargetRoot};

const PATH: &str = "/etc/.ignition-result.json";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Writes the report of this run, with the one that was there inside it.
pub fn write(root: &TargetRoot, user_config_provided: bool) -> Result<()> {
    let boot = std::fs::read_to_string(BOOT_ID).context("reading this boot's ID")?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = since_1970.context("reading the clock")?;
    let previous = match root.read(PATH)? {
        Some(bytes) => Some(
            serde_json::from_slice(&bytes)
                .with_context(|| format!("reading the {PATH} that is there"))?,
        ),
        None => None,
    };
    let report = report(boot.trim(), time, user_config_provided, previous);
    let mut text = serde_json::to_string_pretty(&report).context("encoding the report")?;
    text.push('\n');
    root.replace(PATH, text.as_bytes(), &Attributes::root(0o644))
}

fn report(
    boot: &str,
    time: Duration,
    user_config_provided: bool,
    previous: Option<Value>,
) -> Value {
    let mut report = Map::new();
    if let Some(previous) = previous {
        report.insert("previousReport".to_owned(), previous);
    }
    report.insert("provisioningBootID".to_owned(), boot.into());
    report.insert("provisioningDate".to_owned(), rfc3339(time).into());
    report.insert("userConfigProvided".to_owned(), user_config_provided.into());
    report.into()
}

/// Time since 1970 in UTC (RFC 3339), by the calendar's cycle of 400 years that begins on 1 March.
fn rfc3339(time: Duration) -> String {
    const CYCLE: u64 = 146_097;
    let seconds = time.as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days since 1 March of the year 0.
    let days = seconds / 86_400 + 719_468;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = cycle * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_report_keeps_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let root = TargetRoot::open(folder.path()).unwrap();
        write(&root, false).unwrap();
        write(&root, true).unwrap();
        let bytes = std::fs::read(folder.path().join("etc/.ignition-result.json")).unwrap();
        let report: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report["userConfigProvided"], true);
        assert_eq!(report["previousReport"]["userConfigProvided"], false);
        assert_eq!(report["provisioningBootID"].as_str().unwrap().len(), 36);
    }
}
