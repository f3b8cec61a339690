//! Which boot files firmware is offered.

use crate::boot::{AGENT_IMAGE, BootFiles, FirmwareClass};
use crate::cluster::diagnostics::Problems;
use crate::cluster::raw::RawBootFiles;
use crate::cluster::raw::read::Located;

/// The lists of the file, and the defaults for firmware that it does not name.
pub(super) fn boot_files(file: Option<&RawBootFiles>, problems: &mut Problems<'_>) -> BootFiles {
    let mut boot_files = BootFiles::default();
    for (class, raw) in file.map_or(&[][..], |file| file.0.as_slice()) {
        if raw.value.0.is_empty() {
            let message = format!("no boot file is named for {class}");
            raw.complain(
                problems,
                message,
                "name one, or leave the key out for the default",
            );
        }
        let mut files: Vec<String> = Vec::new();
        for file in &raw.value.0 {
            if files.contains(&file.value) {
                let message = format!("`{}` stands twice", file.value);
                file.complain(
                    problems,
                    message,
                    "each file is tried in its turn; remove one",
                );
            } else if is_boot_file(file, *class, problems) {
                files.push(file.value.clone());
            }
        }
        boot_files.0.insert(*class, files);
    }
    boot_files
}

fn is_boot_file(file: &Located<String>, class: FirmwareClass, problems: &mut Problems<'_>) -> bool {
    let name = &file.value;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let is_plain = !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed);
    // 128 bytes are all that a DHCP message has for it (RFC 2131 section 2).
    if !is_plain || name.len() > 127 {
        let message = format!("`{name}` is not the name of a boot file");
        let help = "the name alone, of letters, digits, `-`, `_`, `+` and `.`, as in snponly.efi";
        file.complain(problems, message, help);
        return false;
    }
    if name == AGENT_IMAGE && class != FirmwareClass::UefiX64Http {
        let message = format!("`{AGENT_IMAGE}` is not made for {class}");
        let help = format!("it is for {} alone", FirmwareClass::UefiX64Http);
        file.complain(problems, message, help);
        return false;
    }
    true
}
