//! What the figures were taken on.

use std::path::Path;

/// One line: processor, memory, kernel, filesystem of the state, load when it began.
pub fn describe(folder: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} × {model}, {} GiB, Linux {}, state on {}, load {} at the start",
        memory.div_ceil(1 << 20),
        kernel.trim(),
        filesystem(folder, &read("/proc/self/mounts")),
        load.split(' ').next().unwrap_or("unknown")
    )
}

/// The type of the filesystem that a folder is on.
fn filesystem(folder: &Path, mounts: &str) -> String {
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let covering = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    let longest = covering.max_by_key(|(length, _)| *length);
    longest
        .map_or("an unknown filesystem", |(_, kind)| kind)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filesystem_is_that_of_the_deepest_mount() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /nowhere/deep tmpfs rw 0 0\n";
        assert_eq!(filesystem(Path::new("/nowhere/deep/x"), mounts), "tmpfs");
        assert_eq!(filesystem(Path::new("/nowhere/x"), mounts), "ext4");
    }
}
