//! Home directories, from the target's /etc/skel.

use anyhow::Result;

use crate::apply::root::{Attributes, Kind, TargetRoot};

/// Makes a home with what is in /etc/skel. One that exists keeps its content and gets the owner.
pub fn create(root: &TargetRoot, home: &str, uid: u32, gid: u32, mode: u32) -> Result<()> {
    let home = home.trim_end_matches('/');
    if root.kind(home)?.is_some() {
        return root.set_owner(home, uid, gid);
    }
    root.make_directory(home, &Attributes { mode, uid, gid })?;
    copy(root, "/etc/skel", home, uid, gid)
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
