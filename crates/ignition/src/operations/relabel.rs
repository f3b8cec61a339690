//! Which paths the operations write, for SELinux labels.

use std::collections::BTreeSet;

use crate::operation::Operation;

/// Files that making users and groups changes.
const ACCOUNTS: [&str; 6] = [
    "/etc/group",
    "/etc/group-",
    "/etc/gshadow",
    "/etc/passwd",
    "/etc/shadow",
    "/home",
];
const PRESETS: &str = "/etc/systemd/system-preset";
const UNITS: &str = "/etc/systemd/system";

/// The last operation: labels for everything that the ones before it write, but for what lies below
/// another of these paths.
pub(super) fn relabel(operations: &[Operation]) -> Option<Operation> {
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for operation in operations {
        paths.extend(written(operation));
    }
    let is_covered = |path: &String| {
        let mut above = path.as_str();
        while let Some((parent, _)) = above
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
        {
            if paths.contains(parent) {
                return true;
            }
            above = parent;
        }
        false
    };
    let outermost: Vec<String> = paths
        .iter()
        .filter(|path| !is_covered(path))
        .cloned()
        .collect();
    (!outermost.is_empty()).then_some(Operation::Relabel { paths: outermost })
}

fn written(operation: &Operation) -> Vec<String> {
    let accounts = || ACCOUNTS.map(str::to_owned).to_vec();
    match operation {
        Operation::WriteTable(_)
        | Operation::CreateArray(_)
        | Operation::OpenVolume(_)
        | Operation::MakeFilesystem(_)
        | Operation::KernelArguments { .. }
        | Operation::Relabel { .. } => Vec::new(),
        Operation::CreateGroup(_)
        | Operation::DeleteGroup { .. }
        | Operation::DeleteUser { .. } => accounts(),
        Operation::EnsureUser(user) => accounts().into_iter().chain(user.home.clone()).collect(),
        // Below `/home`, or in a home that the config names with its user.
        Operation::AuthorizeKeys { user, .. } if user == "root" => vec!["/root/.ssh".to_owned()],
        Operation::AuthorizeKeys { .. } => vec!["/home".to_owned()],
        Operation::PersistVolumes { .. } => {
            vec!["/etc/crypttab".to_owned(), "/etc/luks".to_owned()]
        }
        Operation::PresetLine { .. } => vec![PRESETS.to_owned()],
        Operation::Mask { .. } | Operation::Unmask { .. } | Operation::UnitFile { .. } => {
            vec![UNITS.to_owned()]
        }
        Operation::Mount(mount) => vec![mount.path.clone()],
        Operation::Directory(_)
        | Operation::File(_)
        | Operation::Symlink(_)
        | Operation::HardLink(_)
        | Operation::WriteResult { .. } => vec![operation.subject().to_owned()],
    }
}
