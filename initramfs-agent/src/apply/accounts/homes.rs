//! Home directories, from the target's /etc/skel.

use anyhow::{Result, bail};

use crate::apply::root::{Attributes, Kind, TargetRoot};

/// Makes a home with what is in /etc/skel. One that exists stays as it is, owner included.
pub fn create(root: &TargetRoot, home: &str, uid: u32, gid: u32, mode: u32) -> Result<()> {
    let home = home.trim_end_matches('/');
    if root.exists(home)? {
        return Ok(());
    }
    refuse_dangling(root, home)?;
    root.make_directory(home, &Attributes { mode, uid, gid })?;
    copy(root, "/etc/skel", home, uid, gid)
}

/// useradd makes no directory in the place of a link that leads nowhere.
fn refuse_dangling(root: &TargetRoot, home: &str) -> Result<()> {
    let ends = home.match_indices('/').map(|(end, _)| end).skip(1);
    for end in ends.chain([home.len()]) {
        let folder = &home[..end];
        if root.kind(folder)? == Some(Kind::Symlink) && !root.exists(folder)? {
            bail!("{folder} is a link to nothing");
        }
    }
    Ok(())
}

/// Follows a change of an existing user's home and numbers, as usermod with `--move-home` does: a home
/// that is there moves, and what belonged to the old numbers in it belongs to the new ones.
pub fn change(
    root: &TargetRoot,
    (old_home, before): (&str, (u32, u32)),
    (new_home, after): (&str, (u32, u32)),
) -> Result<()> {
    let (old, new) = (
        old_home.trim_end_matches('/'),
        new_home.trim_end_matches('/'),
    );
    if old != new {
        if root.exists(new)? {
            bail!("its home cannot move: {new_home} is there already");
        }
        match root.kind(old)? {
            Some(Kind::Directory) => root.rename(old, new)?,
            Some(_) => bail!("its home {old_home} is not a directory"),
            None => {}
        }
    }
    // A home that somebody else owns is not touched, unless it has moved.
    let owner = root.stat(new)?.map(|stat| stat.st_uid);
    let is_own = old != new || owner == Some(before.0) || owner == Some(after.0);
    if before == after || !is_own || root.kind(new)? != Some(Kind::Directory) {
        return Ok(());
    }
    give(root, new, before, after)
}

fn give(root: &TargetRoot, path: &str, before: (u32, u32), after: (u32, u32)) -> Result<()> {
    if let Some(stat) = root.stat(path)? {
        let uid = if stat.st_uid == before.0 {
            after.0
        } else {
            stat.st_uid
        };
        let gid = if stat.st_gid == before.1 {
            after.1
        } else {
            stat.st_gid
        };
        if (uid, gid) != (stat.st_uid, stat.st_gid) {
            root.set_owner(path, uid, gid)?;
        }
    }
    if root.kind(path)? == Some(Kind::Directory) {
        for name in root.list(path)? {
            give(root, &format!("{path}/{name}"), before, after)?;
        }
    }
    Ok(())
}

fn copy(root: &TargetRoot, from: &str, to: &str, uid: u32, gid: u32) -> Result<()> {
    for name in root.list(from)? {
        let (old, new) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let Some(stat) = root.stat(&old)? else {
            continue;
        };
        let attributes = Attributes {
            uid,
            gid,
            ..Attributes::of(&stat)
        };
        match root.kind(&old)? {
            Some(Kind::Directory) => {
                root.make_directory(&new, &attributes)?;
                copy(root, &old, &new, uid, gid)?;
            }
            Some(Kind::File) => {
                let bytes = root.read(&old)?.unwrap_or_default();
                root.replace(&new, &bytes, &attributes)?;
            }
            Some(Kind::Symlink) => {
                root.symlink(&root.read_link(&old)?.unwrap_or_default(), &new)?;
                root.set_owner(&new, uid, gid)?;
            }
            // Devices and sockets have no business in a skeleton.
            Some(Kind::Other) | None => {}
        }
    }
    Ok(())
}
