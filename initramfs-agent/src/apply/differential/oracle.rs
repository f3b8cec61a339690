//! The real program, where it can do no harm.
//!
//! Version 2.14 disables every unit that is to be disabled and writes a line for it; later versions
//! ask `systemctl is-enabled` first, and do neither where it says no. That is what counts here, so a
//! stub in systemctl's place asks, and the lines that a later version would not have written are
//! taken out again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "/usr/lib/dracut/modules.d/30ignition/ignition";

/// Everything outside the root that it may write to is thrown away with the case.
const CAGE: &str = r#"set -e
mount --bind -o ro /usr "$1/usr"
mount --rbind /proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/sysroot"
exec chroot "$1" /bin/sh /run.sh
"#;

const RUN: &str = r#"export PATH=/stubs:/usr/sbin:/usr/bin LC_ALL=C TZ=UTC0
umask 022
for stage in fetch files; do
  IGNITION_CONFIG_FILE=/config.ign PROGRAM --platform=file --stage=$stage --root=/sysroot \
    --log-to-stdout --config-cache=/cache.json --neednet=/neednet --state-file=/state.json || exit 1
done
"#;

/// `systemctl --root DIR disable UNIT`, as [`RUN`] is told of it.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$3" = disable ] || exec /usr/bin/systemctl "$@"
case "$4" in
  *" "*) ;;
  *) /usr/bin/systemctl "$1" "$2" is-enabled "$4" >&2 && exec /usr/bin/systemctl "$@" ;;
esac
echo "disable $4" >> /not-enabled
"#;

/// When instances of a template have been enabled, and everything has been written, it asks a running
/// systemd for its version, for a warning. There is none here.
const NO_SYSTEMD: &str = "failed to create units: dial unix /run/systemd/private";

const PRESETS: &str = "etc/systemd/system-preset/20-ignition.preset";

/// Says so when it is not there.
pub fn require() {
    assert!(
        Path::new(PROGRAM).exists(),
        "{PROGRAM} is missing: `cargo xtask setup` installs it (Debian's package ignition)"
    );
}

/// The fetch and files stages. The error is the end of its log.
pub fn apply(config: &str, root: &Path, beside: &Path) -> Result<(), String> {
    let cage = beside.join("cage");
    for folder in ["usr", "etc", "proc", "dev", "tmp", "sysroot", "stubs"] {
        fs::create_dir_all(cage.join(folder)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), cage.join(link)).unwrap();
    }
    // There is no SELinux here, and it insists on labelling.
    for (name, text) in [("setfiles", "#!/bin/sh\n"), ("systemctl", SYSTEMCTL)] {
        let stub = cage.join("stubs").join(name);
        fs::write(&stub, text).unwrap();
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(cage.join("config.ign"), config).unwrap();
    fs::write(cage.join("run.sh"), RUN.replace("PROGRAM", PROGRAM)).unwrap();

    let absent = absent_folders(root);
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            CAGE,
            "sh",
        ])
        .args([&cage, root])
        .output()
        .expect("starting unshare");
    let log = String::from_utf8_lossy(&output.stdout);
    if output.status.success() || log.contains(NO_SYSTEMD) {
        let lines = fs::read_to_string(cage.join("not-enabled")).unwrap_or_default();
        take_out(root, &lines, &absent);
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("CRITICAL"))
        .collect();
    assert!(
        log.contains("Ignition Debian") || log.contains("Stage:"),
        "the program was not started: {errors}"
    );
    Err(format!(
        "{}\n{}",
        said.join("\n"),
        errors.lines().next().unwrap_or_default()
    ))
}

/// Whether it fails for something that it looks for and does not need, or for a group that is there.
pub fn is_accident(log: &str) -> bool {
    let has_group = log.contains("groupadd: group '") && log.contains("' already exists");
    has_group || log.contains("failed to create users/groups: lstat /sysroot/")
}

/// The folders of the preset file that are not there, the deepest first, where the file is not either.
fn absent_folders(root: &Path) -> Option<Vec<PathBuf>> {
    let file = root.join(PRESETS);
    let is_absent = |path: &&Path| !path.exists();
    let folders = file.ancestors().skip(1).take_while(is_absent);
    (!file.exists()).then(|| folders.map(Path::to_path_buf).collect())
}

fn take_out(root: &Path, unwanted: &str, absent: &Option<Vec<PathBuf>>) {
    if unwanted.is_empty() {
        return;
    }
    let file = root.join(PRESETS);
    let text = fs::read_to_string(&file).unwrap();
    let is_wanted = |line: &&str| !unwanted.lines().any(|other| other == *line);
    let kept: String = text
        .lines()
        .filter(is_wanted)
        .flat_map(|line| [line, "\n"])
        .collect();
    fs::write(&file, &kept).unwrap();
    let Some(folders) = absent else { return };
    if kept.is_empty() {
        fs::remove_file(&file).unwrap();
        // Those in which something else is by now stay.
        let _ = folders.iter().try_for_each(fs::remove_dir);
    }
}
