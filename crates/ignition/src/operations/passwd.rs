//! Groups first, then users with their keys: in the config's order.

use super::{Circumstances, Plan, check_account_field, owner_number};
use crate::config::{Group, Passwd, User};
use crate::operation::{self, Operation};

/// Nobody logs in with this for a hash.
const NO_PASSWORD: &str = "*";

pub(super) fn add(passwd: &Passwd, circumstances: &Circumstances<'_>, plan: &mut Plan) {
    for (index, group) in passwd.groups.iter().enumerate() {
        add_group(group, &format!("$.passwd.groups.{index}"), plan);
    }
    for (index, user) in passwd.users.iter().enumerate() {
        add_user(
            user,
            circumstances,
            &format!("$.passwd.users.{index}"),
            plan,
        );
    }
}

fn add_group(group: &Group, at: &str, plan: &mut Plan) {
    check_name(&group.name, at, plan);
    check_account_field(
        group.password_hash.as_deref(),
        &format!("{at}.passwordHash"),
        plan,
    );
    if group.should_exist == Some(false) {
        plan.operations.push(Operation::DeleteGroup {
            name: group.name.clone(),
        });
        return;
    }
    let gid = group
        .gid
        .and_then(|gid| owner_number(gid, &format!("{at}.gid"), plan));
    plan.operations
        .push(Operation::CreateGroup(operation::Group {
            name: group.name.clone(),
            gid,
            password_hash: given(&group.password_hash),
            system: group.system == Some(true),
        }));
}

fn add_user(user: &User, circumstances: &Circumstances<'_>, at: &str, plan: &mut Plan) {
    check_name(&user.name, at, plan);
    for (key, text) in [
        ("passwordHash", &user.password_hash),
        ("gecos", &user.gecos),
        ("homeDir", &user.home_dir),
        ("shell", &user.shell),
    ] {
        check_account_field(text.as_deref(), &format!("{at}.{key}"), plan);
    }
    if user.should_exist == Some(false) {
        plan.operations.push(Operation::DeleteUser {
            name: user.name.clone(),
        });
        return;
    }
    if given(&user.home_dir).is_some_and(|home| !home.starts_with('/')) {
        plan.refuse(
            format!("{at}.homeDir"),
            "a home directory is an absolute path",
        );
    }
    let uid = user
        .uid
        .and_then(|uid| owner_number(uid, &format!("{at}.uid"), plan));
    let password_hash = user.password_hash.as_ref().map(|hash| match hash.as_str() {
        "" => NO_PASSWORD.to_owned(),
        hash => hash.to_owned(),
    });
    plan.operations.push(Operation::EnsureUser(operation::User {
        name: user.name.clone(),
        uid,
        password_hash,
        gecos: given(&user.gecos),
        home: given(&user.home_dir).map(|home| crate::paths::clean(&home)),
        create_home: user.no_create_home != Some(true),
        primary_group: given(&user.primary_group),
        groups: user.groups.clone(),
        no_user_group: user.no_user_group == Some(true),
        shell: given(&user.shell),
        system: user.system == Some(true),
        no_log_init: user.no_log_init == Some(true),
    }));
    if !user.ssh_authorized_keys.is_empty() {
        plan.operations.push(Operation::AuthorizeKeys {
            user: user.name.clone(),
            keys: lines(&user.ssh_authorized_keys),
            whole_file: circumstances.whole_authorized_keys,
        });
    }
}

/// Keys are joined by line ends, and one ends the file: a key's own stays, but for the last.
fn lines(keys: &[String]) -> Vec<String> {
    let mut lines = keys.to_vec();
    if let Some(last) = lines.last_mut()
        && last.ends_with('\n')
    {
        last.pop();
    }
    lines
}

fn check_name(name: &str, at: &str, plan: &mut Plan) {
    let at = format!("{at}.name");
    if name.is_empty() {
        plan.refuse(&at, "a name is required");
    }
    if name.starts_with('-') || name.contains(['/', ',', ' ']) {
        plan.refuse(&at, format!("`{name}` is no name of a user or group"));
    }
    check_account_field(Some(name), &at, plan);
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}
