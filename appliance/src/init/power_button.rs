//! The power button, by evdev: Documentation/input/input.rst, linux/input-event-codes.h.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;
/// `struct input_event` on 64-bit machines: two 64-bit times, type, code, value.
const EVENT: usize = 24;

/// Every input device that could carry a power key.
#[derive(Default)]
pub struct PowerButton {
    devices: Vec<(PathBuf, File)>,
}

impl PowerButton {
    /// Opens devices that have appeared. A device that cannot be opened is tried again next time.
    pub fn look_again(&mut self) {
        let entries = std::fs::read_dir("/dev/input")
            .into_iter()
            .flatten()
            .flatten();
        for path in entries.map(|entry| entry.path()) {
            let is_event = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("event"));
            if is_event && !self.devices.iter().any(|(known, _)| *known == path) {
                self.devices.extend(open(&path).map(|file| (path, file)));
            }
        }
    }

    /// Whether it was pressed since the last call.
    pub fn pressed(&mut self) -> bool {
        let mut pressed = false;
        self.devices.retain_mut(|(_, file)| {
            let mut buffer = [0; 64 * EVENT];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => pressed |= buffer[..count].chunks_exact(EVENT).any(is_power_press),
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        });
        pressed
    }
}

fn open(path: &Path) -> Option<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()
}

fn is_power_press(event: &[u8]) -> bool {
    let kind = u16::from_ne_bytes([event[16], event[17]]);
    let code = u16::from_ne_bytes([event[18], event[19]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (kind, code, value) == (EV_KEY, KEY_POWER, PRESSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0xaa; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(is_power_press(&event(EV_KEY, KEY_POWER, 1)));
        assert!(!is_power_press(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_power_press(&event(EV_KEY, 30, 1)));
        assert!(!is_power_press(&event(4, KEY_POWER, 1)));
        assert_eq!(event(0, 0, 0).len(), EVENT);
    }
}
