//! The tree that a configuration meets.

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

/// What is there besides the files that every system has.
///
/// No link's target lies behind another link: the real program follows one and leaves the rest to the
/// kernel, which looks for an absolute target outside the root.
#[derive(Clone)]
pub struct World {
    /// Which of [`NODES`] are there.
    pub nodes: Vec<bool>,
    /// `USERGROUPS_ENAB` of login.defs.
    pub user_groups: bool,
    /// `HOME_MODE` of login.defs.
    pub home_mode: Option<&'static str>,
    /// Whether there are subordinate ids.
    pub has_subordinate_ids: bool,
}

impl World {
    fn there(&self) -> impl Iterator<Item = &'static (&'static str, Node)> + '_ {
        let chosen = NODES.iter().zip(&self.nodes);
        chosen.filter(|(_, there)| **there).map(|(node, _)| node)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.there().map(|(path, _)| path).collect();
        let Self {
            user_groups,
            home_mode,
            has_subordinate_ids,
            ..
        } = self;
        write!(
            f,
            "{paths:?} user_groups={user_groups} home_mode={home_mode:?} has_subordinate_ids={has_subordinate_ids}"
        )
    }
}

/// Something in the tree.
pub enum Node {
    /// Mode, owner, group.
    Directory(u32, u32, u32),
    /// Content, mode, owner, group.
    File(&'static str, u32, u32, u32),
    /// Target.
    Link(&'static str),
}

use Node::{Directory, File, Link};

const INSTALL: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
const PLAIN: &str = "[Service]\nExecStart=/bin/true\n";

/// Each after the directories that it needs.
pub const NODES: &[(&str, Node)] = &[
    ("/data", Directory(0o750, 7, 8)),
    ("/data/sub", Directory(0o1777, 0, 0)),
    ("/data/sub/f", File("old\n", 0o640, 5, 6)),
    ("/data/f", File("old", 0o4755, 0, 0)),
    ("/data/d", Directory(0o700, 1000, 1000)),
    ("/data/d/inside", File("kept?", 0o644, 0, 0)),
    ("/data/l", Link("/data/sub")),
    ("/data/dangling", Link("nowhere")),
    ("/f", File("top", 0o600, 3, 3)),
    ("/lnk", Link("/data")),
    ("/rel", Link("data/sub")),
    ("/srv/up", Link("..")),
    ("/srv/missing", Link("/not/yet")),
    ("/opt/top", Link("/")),
    ("/home/old", Directory(0o700, 1000, 1000)),
    ("/home/old/.profile", File("x", 0o644, 1000, 1000)),
    ("/home/old/.ssh", Directory(0o700, 1000, 1000)),
    (
        "/home/old/.ssh/authorized_keys.d",
        Directory(0o755, 1000, 1000),
    ),
    (
        "/home/old/.ssh/authorized_keys.d/ignition",
        File("stale\n", 0o644, 1000, 1000),
    ),
    ("/var/mail/old", File("mail\n", 0o660, 1000, 8)),
    // Of the number that a new user gets where none is asked for.
    ("/home/core", Directory(0o755, 1001, 1001)),
    ("/etc/skel/.bashrc", File("# bash\n", 0o644, 0, 0)),
    // No directories: without /proc, as in an initramfs, useradd 4.13 leaves them empty.
    ("/etc/skel/tool", File("#!\n", 0o755, 0, 0)),
    ("/etc/skel/shortcut", Link("bin/tool")),
    (
        "/usr/lib/systemd/system/a.service",
        File(INSTALL, 0o644, 0, 0),
    ),
    (
        "/usr/lib/systemd/system/b.service",
        File(PLAIN, 0o644, 0, 0),
    ),
    (
        "/usr/lib/systemd/system/t@.service",
        File(INSTALL, 0o644, 0, 0),
    ),
    ("/etc/systemd/system/a.service", Link("/dev/null")),
    ("/etc/systemd/system/c.service", File(INSTALL, 0o600, 2, 2)),
    (
        "/etc/systemd/system/multi-user.target.wants",
        Directory(0o755, 0, 0),
    ),
    (
        "/etc/systemd/system/multi-user.target.wants/a.service",
        Link("/usr/lib/systemd/system/a.service"),
    ),
    (
        "/etc/systemd/system/multi-user.target.wants/b.service",
        Link("/usr/lib/systemd/system/b.service"),
    ),
    (
        "/etc/systemd/system/multi-user.target.wants/c.service",
        Link("../c.service"),
    ),
    (
        "/etc/systemd/system/multi-user.target.wants/t@x.service",
        Link("/usr/lib/systemd/system/t@.service"),
    ),
    (
        "/etc/systemd/system/sockets.target.requires/a.service",
        Link("/usr/lib/systemd/system/a.service"),
    ),
    (
        "/etc/systemd/system/alias.service",
        Link("/usr/lib/systemd/system/b.service"),
    ),
    (
        "/etc/systemd/system/d.service.d/old.conf",
        File("[Unit]\n", 0o644, 0, 0),
    ),
    (
        "/etc/systemd/system-preset/20-ignition.preset",
        File("enable old.service\n", 0o640, 0, 4),
    ),
];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:2:2::/:/sbin/nologin
old:x:1000:1000:Old,,,:/home/old:/bin/sh
";
const GROUP: &str = "\
root:x:0:
daemon:x:2:
wheel:x:10:old
docker:x:999:old,daemon
users:x:100:
old:x:1000:
";
const SHADOW: &str = "\
root:*:19000::::::
daemon:*:19000::::::
old:$6$salt$old:19000:0:99999:7:::
";
const GSHADOW: &str = "\
root:*::
daemon:*::
wheel:!::old
docker:!::old,daemon
users:*::
old:!::
";
const LOGIN: &str = "\
UID_MIN 1000
UID_MAX 60000
SYS_UID_MIN 201
SYS_UID_MAX 999
GID_MIN 1000
GID_MAX 60000
SYS_GID_MIN 201
SYS_GID_MAX 999
PASS_MAX_DAYS 99999
PASS_MIN_DAYS 0
PASS_WARN_AGE 7
UMASK 022
CREATE_HOME yes
SUB_UID_MIN 100000
SUB_UID_MAX 600100000
SUB_UID_COUNT 65536
SUB_GID_MIN 100000
SUB_GID_MAX 600100000
SUB_GID_COUNT 65536
";
const USERADD: &str =
    "GROUP=100\nHOME=/home\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=no\n";

/// Makes the tree, the same each time.
pub fn build(root: &Path, world: &World) {
    fs::create_dir(root).unwrap();
    let yes_or_no = if world.user_groups { "yes" } else { "no" };
    let mut login = format!("{LOGIN}USERGROUPS_ENAB {yes_or_no}\n");
    if let Some(mode) = world.home_mode {
        login.push_str(&format!("HOME_MODE {mode}\n"));
    }
    for (path, text, mode) in [
        ("/etc/passwd", PASSWD, 0o644),
        ("/etc/group", GROUP, 0o644),
        ("/etc/shadow", SHADOW, 0o640),
        ("/etc/gshadow", GSHADOW, 0o640),
        ("/etc/login.defs", &login, 0o644),
        ("/etc/default/useradd", USERADD, 0o644),
        ("/etc/selinux/config", "SELINUXTYPE=x\n", 0o644),
        ("/etc/selinux/x/contexts/files/file_contexts", "", 0o644),
    ] {
        put(root, path, &File("", mode, 0, 0), text);
    }
    if world.has_subordinate_ids {
        for path in ["/etc/subuid", "/etc/subgid"] {
            put(root, path, &File("", 0o644, 0, 0), "old:100000:65536\n");
        }
    }
    for (path, node) in world.there() {
        let text = if let File(text, ..) = node { text } else { "" };
        put(root, path, node, text);
    }
}

fn put(root: &Path, path: &str, node: &Node, text: &str) {
    let full = root.join(path.trim_start_matches('/'));
    // A parent that is a link or a file here was drawn without what it should have held.
    let mut above = root.to_path_buf();
    for part in Path::new(path).parent().unwrap().components().skip(1) {
        above.push(part);
        if !above.exists() {
            fs::create_dir(&above).unwrap();
        }
    }
    let own = |mode, uid, gid| {
        chown(&full, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&full, fs::Permissions::from_mode(mode)).unwrap();
    };
    match *node {
        Directory(mode, uid, gid) => {
            fs::create_dir_all(&full).unwrap();
            own(mode, uid, gid);
        }
        File(_, mode, uid, gid) => {
            fs::write(&full, text).unwrap();
            own(mode, uid, gid);
        }
        Link(target) => symlink(target, &full).unwrap(),
    }
}
