//! Goldens: the account files of a small system before and after.

use super::*;
use crate::apply::root::tests::{own, root};

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nold:x:1000:1000:Old,,,:/home/old:/bin/sh\n+nis\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:old\nusers:x:100:\nold:x:1000:\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nold:$6$x:19000:0:99999:7:::\n";
const GSHADOW: &str = "root:*::\nsudo:*::old\nusers:*::\nold:!::\n";

struct System {
    _folder: tempfile::TempDir,
    root: TargetRoot,
}

fn system() -> System {
    let (folder, root) = root();
    for (path, text) in [
        ("/etc/passwd", PASSWD),
        ("/etc/group", GROUP),
        ("/etc/shadow", SHADOW),
        ("/etc/gshadow", GSHADOW),
        (
            "/etc/login.defs",
            "# UID_MIN 5\nUID_MIN\t1000\nPASS_MAX_DAYS 99999\nHOME_MODE 0700\nUSERGROUPS_ENAB yes\n",
        ),
        ("/etc/skel/.profile", "profile\n"),
    ] {
        root.replace(path, text.as_bytes(), &own(0o640)).unwrap();
    }
    System {
        _folder: folder,
        root,
    }
}

impl System {
    /// The lines that are new in each file.
    fn new_lines(&self) -> Vec<String> {
        [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("shadow", SHADOW),
            ("gshadow", GSHADOW),
        ]
        .iter()
        .flat_map(|(name, before)| {
            let bytes = self.root.read(&format!("/etc/{name}")).unwrap().unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let new = text
                .lines()
                .filter(|line| !before.lines().any(|old| old == *line));
            new.map(|line| format!("{name} {line}")).collect::<Vec<_>>()
        })
        .collect()
    }
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        uid: None,
        password_hash: None,
        gecos: None,
        home: None,
        create_home: true,
        primary_group: None,
        groups: Vec::new(),
        no_user_group: false,
        shell: None,
        system: false,
        no_log_init: false,
    }
}

fn group(name: &str) -> Group {
    Group {
        name: name.to_owned(),
        gid: None,
        password_hash: None,
        system: false,
    }
}

#[test]
fn a_new_user_with_its_group_home_and_keys() {
    let system = system();
    let wanted = User {
        groups: vec!["sudo".to_owned()],
        shell: Some("/bin/bash".to_owned()),
        ..user("core")
    };
    ensure_user(&system.root, &wanted).unwrap();
    assert_eq!(
        system.new_lines(),
        [
            "passwd core:x:1001:1001::/home/core:/bin/bash",
            "group sudo:x:27:old,core",
            "group core:x:1001:",
            "shadow core:*::0:99999:7:::",
            "gshadow sudo:*::old,core",
            "gshadow core:!::",
        ]
    );
    assert_eq!(
        system.root.read("/home/core/.profile").unwrap().unwrap(),
        b"profile\n"
    );
    let mode = |path| system.root.stat(path).unwrap().unwrap().st_mode & 0o7777;
    assert_eq!(mode("/home/core"), 0o700);
    assert_eq!(mode("/etc/shadow"), 0o640, "kept");

    let keys = ["ssh-ed25519 A".to_owned(), "ssh-ed25519 B".to_owned()];
    authorize_keys(&system.root, "core", &keys, false).unwrap();
    authorize_keys(&system.root, "core", &keys, false).unwrap();
    let path = "/home/core/.ssh/authorized_keys.d/ignition";
    assert_eq!(
        system.root.read(path).unwrap().unwrap(),
        b"ssh-ed25519 A\nssh-ed25519 B\n"
    );
    assert_eq!((mode(path), mode("/home/core/.ssh")), (0o600, 0o700));
    authorize_keys(&system.root, "core", &keys[..1], true).unwrap();
    let whole = "/home/core/.ssh/authorized_keys";
    assert_eq!(
        system.root.read(whole).unwrap().unwrap(),
        b"ssh-ed25519 A\n"
    );
    assert_eq!(mode(whole), 0o600);
    assert!(authorize_keys(&system.root, "nobody", &keys, false).is_err());
}

#[test]
fn system_users_and_users_without_a_group_of_their_own() {
    let system = system();
    let service = User {
        system: true,
        create_home: false,
        ..user("etcd")
    };
    ensure_user(&system.root, &service).unwrap();
    let plain = User {
        no_user_group: true,
        uid: Some(4000),
        ..user("plain")
    };
    ensure_user(&system.root, &plain).unwrap();
    let primary = User {
        primary_group: Some("27".to_owned()),
        gecos: Some("Admin".into()),
        ..user("admin")
    };
    ensure_user(&system.root, &primary).unwrap();
    let lines = system.new_lines();
    assert_eq!(
        lines[..3],
        [
            "passwd etcd:x:999:999::/home/etcd:/bin/sh",
            "passwd plain:x:4000:100::/home/plain:/bin/sh",
            "passwd admin:x:4001:27:Admin:/home/admin:/bin/sh",
        ]
    );
    assert!(lines.contains(&"shadow etcd:*:::::::".to_owned()));
    assert_eq!(system.root.kind("/home/etcd").unwrap(), None);
    let taken = User {
        uid: Some(4000),
        ..user("other")
    };
    assert_eq!(
        ensure_user(&system.root, &taken).unwrap_err().to_string(),
        "user number 4000 is taken already"
    );
    let lost = User {
        groups: vec!["none".into()],
        ..user("lost")
    };
    assert_eq!(
        ensure_user(&system.root, &lost).unwrap_err().to_string(),
        "there is no group none"
    );
}

#[test]
fn an_existing_user_changes_only_where_told() {
    let system = system();
    system
        .root
        .replace("/home/old/file", b"x", &own(0o644))
        .unwrap();
    ensure_user(&system.root, &user("old")).unwrap();
    assert_eq!(system.new_lines(), [""; 0]);
    let changed = User {
        password_hash: Some("$6$new".to_owned()),
        home: Some("/home/older".to_owned()),
        groups: vec!["users".to_owned()],
        ..user("old")
    };
    ensure_user(&system.root, &changed).unwrap();
    assert_eq!(
        system.new_lines(),
        [
            "passwd old:x:1000:1000:Old,,,:/home/older:/bin/sh",
            "group sudo:x:27:",
            "group users:x:100:old",
            "shadow old:$6$new:19000:0:99999:7:::",
            "gshadow sudo:*::",
            "gshadow users:*::old",
        ]
    );
    assert_eq!(system.root.read("/home/older/file").unwrap().unwrap(), b"x");
}

#[test]
fn groups_are_made_and_deleted() {
    let system = system();
    ensure_group(&system.root, &group("apps")).unwrap();
    ensure_group(
        &system.root,
        &Group {
            gid: Some(500),
            ..group("five")
        },
    )
    .unwrap();
    ensure_group(
        &system.root,
        &Group {
            system: true,
            ..group("daemon")
        },
    )
    .unwrap();
    assert_eq!(
        system.new_lines()[..3],
        [
            "group apps:x:1001:",
            "group five:x:500:",
            "group daemon:x:499:"
        ]
    );
    let error = |outcome: Result<()>| outcome.unwrap_err().to_string();
    let taken = Group {
        gid: Some(27),
        ..group("x")
    };
    assert_eq!(
        error(ensure_group(&system.root, &taken)),
        "group number 27 is taken already"
    );
    assert_eq!(
        error(delete_group(&system.root, "old")),
        "it is the primary group of old"
    );
    for name in ["apps", "five", "daemon", "absent"] {
        delete_group(&system.root, name).unwrap();
    }
    assert_eq!(system.new_lines(), [""; 0]);
}

/// Whoever runs the test owns what it makes, and is user `old` with `own_home`.
fn system_with_home_of_old(own_home: bool) -> System {
    let system = system();
    let uid = rustix::process::geteuid().as_raw() + u32::from(!own_home);
    let passwd = PASSWD.replace("old:x:1000:", &format!("old:x:{uid}:"));
    system
        .root
        .replace("/etc/passwd", passwd.as_bytes(), &own(0o644))
        .unwrap();
    system
        .root
        .replace("/home/old/file", b"x", &own(0o644))
        .unwrap();
    system
        .root
        .replace("/var/mail/old", b"x", &own(0o644))
        .unwrap();
    system
}

#[test]
fn a_user_does_not_take_along_what_is_another_users() {
    let system = system_with_home_of_old(false);
    let refusal = |path| {
        let error = delete_user(&system.root, "old").unwrap_err();
        let expected = format!("{path} is not its own and cannot go with it");
        assert_eq!(error.to_string(), expected);
    };
    refusal("/home/old");
    system.root.remove("/home/old").unwrap();
    refusal("/var/mail/old");
    assert!(uid(&system.root, "old").is_ok());
    system.root.remove("/var/mail/old").unwrap();
    delete_user(&system.root, "old").unwrap();
}

#[test]
fn a_user_goes_with_all_that_is_its() {
    let system = system_with_home_of_old(true);
    delete_user(&system.root, "old").unwrap();
    delete_user(&system.root, "old").unwrap();
    for path in ["/home/old", "/var/mail/old"] {
        assert_eq!(system.root.kind(path).unwrap(), None);
    }
    let text = |path| String::from_utf8(system.root.read(path).unwrap().unwrap()).unwrap();
    assert_eq!(
        text("/etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\n+nis\n"
    );
    assert_eq!(text("/etc/group"), "root:x:0:\nsudo:x:27:\nusers:x:100:\n");
}

#[test]
fn what_was_made_in_a_home_becomes_the_users() {
    let system = system();
    let made = ["/home", "/home/old", "/home/old/data", "/home/older"].map(str::to_owned);
    for path in &made {
        if system.root.kind(path).unwrap().is_none() {
            system.root.make_directory(path, &own(0o755)).unwrap();
        }
    }
    take_over(&system.root, "old", &made).unwrap();
    let mode = |path: &str| system.root.stat(path).unwrap().unwrap().st_mode & 0o777;
    assert_eq!((mode("/home/old"), mode("/home/old/data")), (0o700, 0o700));
    assert_eq!((mode("/home"), mode("/home/older")), (0o755, 0o755));
}

#[test]
fn people_get_subordinate_ids_where_there_are_any() {
    let system = system();
    let text = |path| String::from_utf8(system.root.read(path).unwrap().unwrap()).unwrap();
    ensure_user(&system.root, &user("early")).unwrap();
    let ids = b"old:100000:65536\n";
    system
        .root
        .replace("/etc/subuid", ids, &own(0o644))
        .unwrap();
    ensure_user(&system.root, &user("core")).unwrap();
    let daemon = User {
        system: true,
        ..user("daemon")
    };
    ensure_user(&system.root, &daemon).unwrap();
    let both = "old:100000:65536\ncore:165536:65536\n";
    assert_eq!(text("/etc/subuid"), both);
    assert_eq!(system.root.kind("/etc/subgid").unwrap(), None);
    delete_user(&system.root, "old").unwrap();
    assert_eq!(text("/etc/subuid"), "core:165536:65536\n");
}

#[test]
fn a_home_that_is_there_stays_as_it_is() {
    let system = system();
    system
        .root
        .replace("/home/core/file", b"x", &own(0o644))
        .unwrap();
    ensure_user(&system.root, &user("core")).unwrap();
    assert_eq!(system.root.list("/home/core").unwrap(), ["file"]);
    system.root.symlink("nowhere", "/link").unwrap();
    let lost = User {
        home: Some("/link/home".to_owned()),
        ..user("lost")
    };
    let error = ensure_user(&system.root, &lost).unwrap_err();
    assert_eq!(error.to_string(), "/link is a link to nothing");
}

#[test]
fn a_group_that_is_there_is_changed() {
    let system = system();
    let before = system.new_lines();
    ensure_group(&system.root, &group("users")).unwrap();
    assert_eq!(system.new_lines(), before);
    let wanted = Group {
        gid: Some(4100),
        password_hash: Some("$6$group".to_owned()),
        ..group("sudo")
    };
    ensure_group(&system.root, &wanted).unwrap();
    let lines = system.new_lines();
    assert!(
        lines.contains(&"group sudo:x:4100:old".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"gshadow sudo:$6$group::old".to_owned()),
        "{lines:?}"
    );
    let taken = Group {
        gid: Some(4100),
        ..group("users")
    };
    assert_eq!(
        ensure_group(&system.root, &taken).unwrap_err().to_string(),
        "group number 4100 is taken already"
    );
}

#[test]
fn the_mail_of_a_user_follows_its_number() {
    let system = system();
    let path = "/var/mail/old";
    system.root.replace(path, b"x", &own(0o660)).unwrap();
    system.root.set_owner(path, 1000, 8).unwrap();
    let changed = User {
        uid: Some(500),
        ..user("old")
    };
    ensure_user(&system.root, &changed).unwrap();
    let stat = system.root.stat(path).unwrap().unwrap();
    // Nobody else can give a file away.
    if rustix::process::geteuid().is_root() {
        assert_eq!((stat.st_uid, stat.st_gid), (500, 8));
    }
}

#[test]
fn what_is_in_a_home_that_moves_follows_its_users_numbers() {
    let system = system();
    // The directory itself is of whoever runs the test.
    let file = "/home/old/file";
    system.root.replace(file, b"x", &own(0o644)).unwrap();
    system.root.set_owner(file, 1000, 1000).unwrap();
    let changed = User {
        home: Some("/new".to_owned()),
        primary_group: Some("sudo".to_owned()),
        ..user("old")
    };
    ensure_user(&system.root, &changed).unwrap();
    let stat = system.root.stat("/new/file").unwrap().unwrap();
    if rustix::process::geteuid().is_root() {
        assert_eq!((stat.st_uid, stat.st_gid), (1000, 27));
    }
}
