//! What useradd and groupadd take for granted: /etc/default/useradd and /etc/login.defs.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};

use crate::apply::root::TargetRoot;

/// The target's own defaults.
pub struct Defaults {
    login: String,
    /// The folder of home directories.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// The primary group of users without a group of their own.
    pub group: u32,
    /// Whether a new user gets a group of its own name.
    pub user_groups: bool,
    /// Mode of a new home directory.
    pub home_mode: u32,
}

impl Defaults {
    /// Reads both files; what they do not say is what useradd has built in.
    pub fn load(root: &TargetRoot) -> Result<Self> {
        let text = |path| -> Result<String> {
            let bytes = root.read(path)?.unwrap_or_default();
            String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
        };
        let useradd = text("/etc/default/useradd")?;
        let login = text("/etc/login.defs")?;
        let of = |key: &str| assignment(&useradd, key);
        let group = of("GROUP")
            .and_then(|group| group.parse().ok())
            .unwrap_or(100);
        let home_mode =
            word(&login, "HOME_MODE").and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Ok(Self {
            home: of("HOME").unwrap_or("/home").to_owned(),
            shell: of("SHELL").unwrap_or("/bin/sh").to_owned(),
            group,
            // A system without the file has not said no.
            user_groups: login.is_empty() || word(&login, "USERGROUPS_ENAB") == Some("yes"),
            home_mode: home_mode.unwrap_or(0o755),
            login,
        })
    }

    /// The next free user number: behind the highest for people, before the lowest for systems.
    pub fn free_uid(&self, system: bool, taken: &[u32]) -> Result<u32> {
        self.free("UID", system, taken)
            .context("no user number is free")
    }

    /// The next free group number, likewise.
    pub fn free_gid(&self, system: bool, taken: &[u32]) -> Result<u32> {
        self.free("GID", system, taken)
            .context("no group number is free")
    }

    /// Whether a new user is one who gets subordinate ids: no system's user, by its own number neither.
    pub fn is_person(&self, system: bool, uid: Option<u32>) -> bool {
        let people = self.limit("UID_MIN", 1000)..=self.limit("UID_MAX", 60000);
        !system && uid.is_none_or(|uid| people.contains(&uid))
    }

    /// The numbers from which subordinate ids are taken, and how many a user gets. `kind` is `UID` or
    /// `GID`.
    pub fn subordinate(&self, kind: &str) -> (RangeInclusive<u32>, u32) {
        let first = self.limit(&format!("SUB_{kind}_MIN"), 100_000);
        let last = self.limit(&format!("SUB_{kind}_MAX"), 600_100_000);
        (
            first..=last,
            self.limit(&format!("SUB_{kind}_COUNT"), 65536),
        )
    }

    fn limit(&self, key: &str, otherwise: u32) -> u32 {
        word(&self.login, key)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    }

    /// A new line of shadow. Without days of ageing the password counts as never changed, which
    /// does not depend on the day of the installation.
    pub fn shadow_entry(&self, name: &str, hash: &str, system: bool) -> Vec<String> {
        let ageing = |key: &str, otherwise: &str| match system {
            true => String::new(),
            false => word(&self.login, key).unwrap_or(otherwise).to_owned(),
        };
        let days = [
            ageing("PASS_MIN_DAYS", "0"),
            ageing("PASS_MAX_DAYS", "99999"),
            ageing("PASS_WARN_AGE", "7"),
        ];
        let mut entry = vec![name.to_owned(), hash.to_owned(), String::new()];
        entry.extend(days);
        entry.extend([String::new(), String::new(), String::new()]);
        entry
    }

    /// The number of a user's own group: the user's where it is free and one for groups.
    pub fn own_gid(&self, system: bool, uid: u32, taken: &[u32]) -> Result<u32> {
        if self.range("GID", system).contains(&uid) && !taken.contains(&uid) {
            return Ok(uid);
        }
        self.free_gid(system, taken)
    }

    fn free(&self, kind: &str, system: bool, taken: &[u32]) -> Option<u32> {
        let mut range = self.range(kind, system);
        let inside = taken.iter().filter(|number| range.contains(number));
        let next = match system {
            true => inside
                .min()
                .map_or(*range.end(), |lowest| lowest.saturating_sub(1)),
            false => inside
                .max()
                .map_or(*range.start(), |highest| highest.saturating_add(1)),
        };
        if range.contains(&next) {
            return Some(next);
        }
        let is_free = |number: &u32| !taken.contains(number);
        match system {
            true => range.rfind(is_free),
            false => range.find(is_free),
        }
    }

    fn range(&self, kind: &str, system: bool) -> RangeInclusive<u32> {
        let first = self.limit(&format!("{kind}_MIN"), 1000);
        if system {
            let last = self.limit(&format!("SYS_{kind}_MAX"), first.saturating_sub(1));
            return self.limit(&format!("SYS_{kind}_MIN"), 101)..=last;
        }
        first..=self.limit(&format!("{kind}_MAX"), 60000)
    }
}

/// `KEY=value` of a shell-like file.
fn assignment<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches('"'))
}

/// `KEY value` of login.defs.
fn word<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == key).then(|| words.next())?
    })
}
