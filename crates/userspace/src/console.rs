//! Text for whoever stands in front of the machine, on every console of the kernel.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// How long one write may be held up by a console, as a serial port without a listener.
const PATIENCE_MILLISECONDS: u16 = 200;

/// The kernel's consoles (`console=` arguments), open for writing.
#[derive(Debug, Default)]
pub struct Console {
    outputs: Vec<File>,
}

impl Console {
    /// Opens every active console: those that /sys names, or /dev/console where /sys is silent.
    /// What cannot be opened is left out; a console without outputs swallows its text.
    pub fn open() -> Self {
        Self::open_under(Path::new("/"))
    }

    fn open_under(root: &Path) -> Self {
        let outputs = paths(root)
            .iter()
            .filter_map(|path| {
                OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                    .open(path)
                    .ok()
            })
            .collect();
        Self { outputs }
    }

    /// Writes `text` and a line end to every console. Never fails and never waits for long: text
    /// that a console does not take is lost there.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes `text` as it is to every console, under the same terms.
    pub fn write(&self, text: &str) {
        for output in &self.outputs {
            write_patiently(output, text.as_bytes());
        }
    }
}

fn paths(root: &Path) -> Vec<PathBuf> {
    let active = std::fs::read_to_string(root.join("sys/class/tty/console/active"));
    let names: Vec<PathBuf> = active
        .unwrap_or_default()
        .split_whitespace()
        .map(|name| root.join("dev").join(name))
        .collect();
    if names.is_empty() {
        return vec![root.join("dev/console")];
    }
    names
}

fn write_patiently(mut output: &File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut poll = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
                let timeout = PollTimeout::from(PATIENCE_MILLISECONDS);
                match nix::poll::poll(&mut poll, timeout) {
                    Ok(ready) if ready > 0 => {}
                    _ => return,
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_active_console_gets_the_text() {
        let root = tempfile::tempdir().unwrap();
        let active = root.path().join("sys/class/tty/console");
        std::fs::create_dir_all(&active).unwrap();
        std::fs::create_dir_all(root.path().join("dev")).unwrap();
        std::fs::write(active.join("active"), "tty0 ttyS0\n").unwrap();
        for name in ["console", "tty0", "ttyS0"] {
            std::fs::write(root.path().join("dev").join(name), "").unwrap();
        }
        Console::open_under(root.path()).line("hello");
        let read = |name| std::fs::read_to_string(root.path().join("dev").join(name)).unwrap();
        assert_eq!([read("tty0"), read("ttyS0")], ["hello\n", "hello\n"]);
        assert_eq!(read("console"), "");
    }
}
