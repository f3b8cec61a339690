//! LUKS volumes and what unlocks them.

use super::{Problems, check_path, is_given, resource};
use crate::config::{Clevis, Luks, Tang};
use crate::source::json;
use crate::url::Url;

/// What the LUKS2 header has room for.
const MAXIMUM_LABEL: usize = 47;

pub(super) fn check(volumes: &[Luks], problems: &mut Problems) {
    for (index, volume) in volumes.iter().enumerate() {
        check_volume(volume, &format!("$.storage.luks.{index}"), problems);
    }
}

fn check_volume(volume: &Luks, at: &str, problems: &mut Problems) {
    if volume.name.contains('/') {
        problems.error(format!("{at}.name"), "a volume's name cannot hold a slash");
    }
    match volume.device.as_deref().unwrap_or_default() {
        "" => problems.error(format!("{at}.device"), "a device is required"),
        device => check_path(device, &format!("{at}.device"), problems),
    }
    if volume
        .label
        .as_deref()
        .is_some_and(|label| label.len() > MAXIMUM_LABEL)
    {
        let message = format!("a volume's label has at most {MAXIMUM_LABEL} characters");
        problems.error(format!("{at}.label"), message);
    }
    resource::check(&volume.key_file, &format!("{at}.keyFile"), problems);
    if volume.cex.enabled == Some(true) {
        if is_present(&volume.clevis) {
            problems.error(format!("{at}.cex"), "cex does not go with clevis");
        }
        if is_given(&volume.key_file.source) {
            problems.error(format!("{at}.cex"), "cex does not go with a key file");
        }
    }
    check_clevis(&volume.clevis, &format!("{at}.clevis"), problems);
}

/// Whether clevis is asked for at all.
fn is_present(clevis: &Clevis) -> bool {
    is_given(&clevis.custom.pin)
        || is_given(&clevis.custom.config)
        || clevis.custom.needs_network == Some(true)
        || !clevis.tang.is_empty()
        || clevis.threshold.is_some_and(|threshold| threshold != 0)
        || clevis.tpm2 == Some(true)
}

fn check_clevis(clevis: &Clevis, at: &str, problems: &mut Problems) {
    let custom = &clevis.custom;
    if is_given(&custom.pin) || is_given(&custom.config) || custom.needs_network == Some(true) {
        let at = format!("{at}.custom");
        if !clevis.tang.is_empty()
            || clevis.tpm2 == Some(true)
            || clevis.threshold.is_some_and(|n| n != 0)
        {
            problems.error(
                &at,
                "a custom pin does not go with tpm2, tang or a threshold",
            );
        }
        match custom.pin.as_deref().unwrap_or_default() {
            "" => problems.error(format!("{at}.pin"), "a custom configuration needs a pin"),
            "tpm2" | "tang" | "sss" => {}
            // Later specs leave the judgement to clevis.
            _ if problems.minor >= 6 => {}
            pin => problems.error(format!("{at}.pin"), format!("unknown clevis pin `{pin}`")),
        }
        if !is_given(&custom.config) {
            problems.error(format!("{at}.config"), "a custom pin needs a configuration");
        }
    }
    for (index, tang) in clevis.tang.iter().enumerate() {
        check_tang(tang, &format!("{at}.tang.{index}"), problems);
    }
}

fn check_tang(tang: &Tang, at: &str, problems: &mut Problems) {
    match Url::parse(&tang.url) {
        Some(url) if matches!(url.scheme.as_str(), "http" | "https") => {}
        _ => problems.error(format!("{at}.url"), "a Tang server is an http or https URL"),
    }
    if !is_given(&tang.thumbprint) {
        problems.error(format!("{at}.thumbprint"), "a thumbprint is required");
    }
    if problems.minor == 4 && is_given(&tang.advertisement) {
        let message = "Ignition ignores advertisements in configs of spec 3.4.0: use 3.5.0";
        problems.warning(format!("{at}.advertisement"), message);
    }
    let advertisement = tang
        .advertisement
        .as_deref()
        .filter(|text| !text.is_empty());
    if advertisement.is_some_and(|text| json::read(text.as_bytes()).is_err()) {
        problems.error(
            format!("{at}.advertisement"),
            "the advertisement is not JSON",
        );
    }
}
