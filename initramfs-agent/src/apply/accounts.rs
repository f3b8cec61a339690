//! Groups and users of the installed system, by its own files: nothing of it is run.

use anyhow::{Context, Result, bail};
use hardway_ignition::operation::{Group, User};

use super::account_files::Table;
use super::as_user::as_user;
use super::root::{Attributes, TargetRoot};

mod defaults;
mod homes;
mod subordinate;

use defaults::Defaults;

const NAME: usize = 0;
const UID: usize = 2;
const GID: usize = 2;
const PRIMARY: usize = 3;
const GECOS: usize = 4;
const HOME: usize = 5;
const SHELL: usize = 6;

/// The number of a user that the target knows.
pub fn uid(root: &TargetRoot, name: &str) -> Result<u32> {
    let row = Table::passwd(root)?
        .get(name)
        .with_context(|| format!("there is no user {name}"))?;
    number(&row[UID], name)
}

/// The number of a group that the target knows.
pub fn gid(root: &TargetRoot, name: &str) -> Result<u32> {
    let row = Table::group(root)?
        .get(name)
        .with_context(|| format!("there is no group {name}"))?;
    number(&row[GID], name)
}

/// As groupadd(8) and groupmod(8).
pub fn ensure_group(root: &TargetRoot, wanted: &Group) -> Result<()> {
    let standing = Table::group(root)?.get(&wanted.name);
    match standing {
        Some(row) => change_group(root, wanted, row),
        None => create_group(root, wanted),
    }
}

fn create_group(root: &TargetRoot, wanted: &Group) -> Result<()> {
    let (mut group, mut gshadow) = (Table::group(root)?, Table::gshadow(root)?);
    let gid = match wanted.gid {
        Some(gid) if used(&group, GID).contains(&gid) => {
            bail!("group number {gid} is taken already")
        }
        Some(gid) => gid,
        None => Defaults::load(root)?.free_gid(wanted.system, &used(&group, GID))?,
    };
    let hash = wanted.password_hash.as_deref().unwrap_or("*");
    group.set(&fields(&[&wanted.name, "x", &gid.to_string(), ""]));
    gshadow.set(&fields(&[&wanted.name, hash, "", ""]));
    group.store(root)?;
    gshadow.store(root)
}

fn change_group(root: &TargetRoot, wanted: &Group, mut row: Vec<String>) -> Result<()> {
    let (mut group, mut gshadow) = (Table::group(root)?, Table::gshadow(root)?);
    if let Some(gid) = wanted.gid.map(|gid| gid.to_string()) {
        if group
            .rows()
            .any(|other| other[NAME] != wanted.name && other[GID] == gid)
        {
            bail!("group number {gid} is taken already");
        }
        let mut passwd = Table::passwd(root)?;
        let users: Vec<_> = passwd.rows().collect();
        for mut user in users.into_iter().filter(|user| user[PRIMARY] == row[GID]) {
            user[PRIMARY].clone_from(&gid);
            passwd.set(&user);
        }
        row[GID] = gid;
        group.set(&row);
        passwd.store(root)?;
        group.store(root)?;
    }
    if let Some(hash) = &wanted.password_hash {
        let mut shadow = gshadow
            .get(&wanted.name)
            .unwrap_or_else(|| fields(&[&wanted.name, "", "", &row[3]]));
        shadow[1].clone_from(hash);
        gshadow.set(&shadow);
        gshadow.store(root)?;
    }
    Ok(())
}

/// As groupdel(8).
pub fn delete_group(root: &TargetRoot, name: &str) -> Result<()> {
    let (mut group, mut gshadow) = (Table::group(root)?, Table::gshadow(root)?);
    let Some(row) = group.get(name) else {
        return Ok(());
    };
    if let Some(user) = Table::passwd(root)?
        .rows()
        .find(|user| user[PRIMARY] == row[GID])
    {
        bail!("it is the primary group of {}", user[NAME]);
    }
    group.remove(name);
    gshadow.remove(name);
    group.store(root)?;
    gshadow.store(root)
}

/// As useradd(8) and usermod(8).
pub fn ensure_user(root: &TargetRoot, wanted: &User) -> Result<()> {
    let standing = Table::passwd(root)?.get(&wanted.name);
    match standing {
        Some(row) => change_user(root, wanted, row),
        None => create_user(root, wanted),
    }
}

/// Gives a user those directories that are its home or lie in it: what the mount stage made before there
/// was such a user.
pub fn take_over(root: &TargetRoot, name: &str, made: &[String]) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let row = Table::passwd(root)?
        .get(name)
        .with_context(|| format!("there is no user {name}"))?;
    let (uid, gid) = (number(&row[UID], name)?, number(&row[PRIMARY], name)?);
    let home = std::path::Path::new(row[HOME].as_str());
    if home == std::path::Path::new("/") {
        return Ok(());
    }
    let own = Attributes {
        mode: 0o700,
        uid,
        gid,
    };
    made.iter()
        .filter(|path| std::path::Path::new(path).starts_with(home))
        .try_for_each(|path| root.set_attributes(path, &own))
}

/// As userdel(8) with `--remove`. Where the home or the mail is another user's, nothing is changed.
pub fn delete_user(root: &TargetRoot, name: &str) -> Result<()> {
    let (mut passwd, mut shadow) = (Table::passwd(root)?, Table::shadow(root)?);
    let Some(row) = passwd.get(name) else {
        return Ok(());
    };
    let (uid, mail) = (number(&row[UID], name)?, format!("/var/mail/{name}"));
    for path in [row[HOME].trim_end_matches('/'), &mail] {
        let standing = if path.is_empty() {
            None
        } else {
            root.stat(path)?
        };
        if standing.is_some_and(|stat| stat.st_uid != uid) {
            bail!("{path} is not its own and cannot go with it");
        }
    }
    passwd.remove(name);
    shadow.remove(name);
    passwd.store(root)?;
    shadow.store(root)?;
    subordinate::withdraw(root, name)?;
    set_members(root, name, &[], true)?;
    let (mut group, mut gshadow) = (Table::group(root)?, Table::gshadow(root)?);
    let has_own = Defaults::load(root)?.user_groups;
    let own = group.get(name).filter(|own| {
        has_own
            && own[GID] == row[PRIMARY]
            && own[3].is_empty()
            && !passwd.rows().any(|user| user[PRIMARY] == own[GID])
    });
    if own.is_some() {
        group.remove(name);
        gshadow.remove(name);
        group.store(root)?;
        gshadow.store(root)?;
    }
    if row[HOME].len() > 1 {
        root.remove(row[HOME].trim_end_matches('/'))?;
    }
    root.remove(&mail)
}

/// Writes a user's keys to `~/.ssh/authorized_keys.d/ignition`, or `~/.ssh/authorized_keys`, with the
/// user's own rights: where the user could not, it fails.
pub fn authorize_keys(
    root: &TargetRoot,
    user: &str,
    keys: &[String],
    whole_file: bool,
) -> Result<()> {
    let row = Table::passwd(root)?
        .get(user)
        .with_context(|| format!("there is no user {user}"))?;
    let (uid, gid) = (number(&row[UID], user)?, number(&row[PRIMARY], user)?);
    let file = match whole_file {
        true => "authorized_keys",
        false => "authorized_keys.d/ignition",
    };
    let path = format!("{}/.ssh/{file}", row[HOME].trim_end_matches('/'));
    let text: String = keys.iter().flat_map(|key| [key.as_str(), "\n"]).collect();
    as_user(uid, gid, || root.write_in_place(&path, text.as_bytes()))
}

fn create_user(root: &TargetRoot, wanted: &User) -> Result<()> {
    let defaults = Defaults::load(root)?;
    let (mut passwd, mut shadow) = (Table::passwd(root)?, Table::shadow(root)?);
    let taken = used(&passwd, UID);
    let uid = match wanted.uid {
        Some(uid) if taken.contains(&uid) => bail!("user number {uid} is taken already"),
        Some(uid) => uid,
        None => defaults.free_uid(wanted.system, &taken)?,
    };
    let gid = primary_group(root, wanted, uid, &defaults)?;
    let home = wanted
        .home
        .clone()
        .unwrap_or_else(|| format!("{}/{}", defaults.home, wanted.name));
    passwd.set(&fields(&[
        &wanted.name,
        "x",
        &uid.to_string(),
        &gid.to_string(),
        wanted.gecos.as_deref().unwrap_or(""),
        &home,
        wanted.shell.as_deref().unwrap_or(&defaults.shell),
    ]));
    let hash = wanted.password_hash.as_deref().unwrap_or("*");
    shadow.set(&defaults.shadow_entry(&wanted.name, hash, wanted.system));
    passwd.store(root)?;
    shadow.store(root)?;
    set_members(
        root,
        &wanted.name,
        &group_names(root, &wanted.groups)?,
        false,
    )?;
    let is_person = defaults.is_person(wanted.system, wanted.uid);
    if is_person {
        subordinate::assign(root, &wanted.name, &defaults)?;
    }
    if wanted.create_home {
        homes::create(root, &home, uid, gid, defaults.home_mode)?;
    }
    Ok(())
}

fn primary_group(root: &TargetRoot, wanted: &User, uid: u32, defaults: &Defaults) -> Result<u32> {
    if let Some(name) = &wanted.primary_group {
        return group_number(root, name);
    }
    if wanted.no_user_group || !defaults.user_groups {
        return Ok(defaults.group);
    }
    let group = Table::group(root)?;
    if group.get(&wanted.name).is_some() {
        bail!(
            "there is a group {} already; name it as the primary group",
            wanted.name
        );
    }
    let gid = defaults.own_gid(wanted.system, uid, &used(&group, GID))?;
    let own = Group {
        name: wanted.name.clone(),
        gid: Some(gid),
        password_hash: Some("!".to_owned()),
        system: wanted.system,
    };
    create_group(root, &own)?;
    Ok(gid)
}

fn change_user(root: &TargetRoot, wanted: &User, mut row: Vec<String>) -> Result<()> {
    let name = &wanted.name;
    let old_row = row.clone();
    if let Some(uid) = wanted.uid {
        let passwd = Table::passwd(root)?;
        if passwd
            .rows()
            .any(|other| other[NAME] != *name && other[UID] == uid.to_string())
        {
            bail!("user number {uid} is taken already");
        }
        row[UID] = uid.to_string();
    }
    if let Some(group) = &wanted.primary_group {
        row[PRIMARY] = group_number(root, group)?.to_string();
    }
    for (field, value) in [
        (GECOS, &wanted.gecos),
        (HOME, &wanted.home),
        (SHELL, &wanted.shell),
    ] {
        if let Some(value) = value {
            row[field] = value.clone();
        }
    }
    let mut passwd = Table::passwd(root)?;
    passwd.set(&row);
    passwd.store(root)?;
    if let Some(hash) = &wanted.password_hash {
        let mut shadow = Table::shadow(root)?;
        let mut entry = match shadow.get(name) {
            Some(entry) => entry,
            None => Defaults::load(root)?.shadow_entry(name, hash, false),
        };
        entry[1] = hash.clone();
        shadow.set(&entry);
        shadow.store(root)?;
    }
    if !wanted.groups.is_empty() {
        set_members(root, name, &group_names(root, &wanted.groups)?, true)?;
    }
    let (before, after) = (owner(&old_row, name)?, owner(&row, name)?);
    homes::change(root, (&old_row[HOME], before), (&row[HOME], after))?;
    let mail = format!("/var/mail/{name}");
    match root.stat(&mail)? {
        Some(stat) if stat.st_uid == before.0 && before.0 != after.0 => {
            root.set_owner(&mail, after.0, stat.st_gid)
        }
        _ => Ok(()),
    }
}

fn owner(row: &[String], name: &str) -> Result<(u32, u32)> {
    Ok((number(&row[UID], name)?, number(&row[PRIMARY], name)?))
}

/// Enters `user` into these groups, and with `only` takes it out of all others.
fn set_members(root: &TargetRoot, user: &str, groups: &[String], only: bool) -> Result<()> {
    for mut table in [Table::group(root)?, Table::gshadow(root)?] {
        table.edit_members(|group, members| {
            let is_member = members.iter().any(|member| member == user);
            let is_wanted = groups.iter().any(|wanted| wanted == group);
            if is_wanted && !is_member {
                members.push(user.to_owned());
            } else if only && is_member && !is_wanted {
                members.retain(|member| member != user);
            }
        });
        table.store(root)?;
    }
    Ok(())
}

fn group_number(root: &TargetRoot, name: &str) -> Result<u32> {
    let group = Table::group(root)?;
    if let Some(row) = group.get(name) {
        return number(&row[GID], name);
    }
    let known = group.rows().any(|row| row[GID] == name);
    match name.parse() {
        Ok(gid) if known => Ok(gid),
        _ => bail!("there is no group {name}"),
    }
}

fn group_names(root: &TargetRoot, groups: &[String]) -> Result<Vec<String>> {
    let table = Table::group(root)?;
    groups
        .iter()
        .map(|group| {
            let row = table
                .get(group)
                .or_else(|| table.rows().find(|row| row[GID] == *group));
            Ok(row
                .with_context(|| format!("there is no group {group}"))?
                .swap_remove(NAME))
        })
        .collect()
}

fn used(table: &Table, field: usize) -> Vec<u32> {
    table
        .rows()
        .filter_map(|row| row[field].parse().ok())
        .collect()
}

fn number(text: &str, name: &str) -> Result<u32> {
    text.parse()
        .with_context(|| format!("the number of {name} is `{text}`"))
}

fn fields(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
