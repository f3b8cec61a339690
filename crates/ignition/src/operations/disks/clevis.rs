//! What opens a volume at the installed system's start: a clevis pin and its configuration.

use serde_json::{Map, Value, json};

use super::Target;
use crate::config;
use crate::operation::disks::Clevis;
use crate::operations::Plan;

/// `None` when the volume has no binding, or when it was refused.
pub(super) fn convert(
    clevis: &config::Clevis,
    at: &str,
    target: &Target<'_>,
    plan: &mut Plan,
) -> Option<Clevis> {
    if *clevis == config::Clevis::default() {
        return None;
    }
    let custom = &clevis.custom;
    if let Some(pin) = given(&custom.pin) {
        let config = given(&custom.config).unwrap_or_default();
        let parsed: Option<Value> = serde_json::from_str(config).ok();
        if parsed.as_ref().is_none_or(|value| !value.is_object()) {
            let message = "clevis takes a JSON object here";
            plan.refuse(format!("{at}.custom.config"), message);
        }
        if pin == "tpm2" || pin == "sss" && names_tpm2(parsed.as_ref()) {
            check_tpm2(&format!("{at}.custom"), target, plan);
        }
        return Some(Clevis {
            pin: pin.to_owned(),
            config: config.to_owned(),
            needs_network: custom.needs_network == Some(true),
        });
    }
    let tpm2 = clevis.tpm2 == Some(true);
    if tpm2 {
        check_tpm2(&format!("{at}.tpm2"), target, plan);
    }
    let pins = clevis.tang.len() + usize::from(tpm2);
    if pins == 0 {
        if clevis.threshold.is_some_and(|threshold| threshold != 0) {
            let message = "there is nothing to bind to: give `tang`, `tpm2` or `custom`";
            plan.refuse(at, message);
        }
        return None;
    }
    let threshold = clevis.threshold.unwrap_or(1);
    if usize::try_from(threshold).map_or(true, |needed| needed == 0 || needed > pins) {
        let message = format!("of {pins} pins, {threshold} cannot be needed");
        plan.refuse(format!("{at}.threshold"), message);
    }
    Some(Clevis {
        pin: "sss".to_owned(),
        config: shared_secret(clevis, tpm2, threshold).to_string(),
        needs_network: !clevis.tang.is_empty(),
    })
}

/// The configuration of clevis's pin for several pins, as the real Ignition writes it.
fn shared_secret(clevis: &config::Clevis, tpm2: bool, threshold: i64) -> Value {
    let mut pins = Map::new();
    let tang: Vec<Value> = clevis.tang.iter().map(tang).collect();
    if !tang.is_empty() {
        pins.insert("tang".to_owned(), Value::Array(tang));
    }
    if tpm2 {
        pins.insert("tpm2".to_owned(), json!({}));
    }
    json!({ "pins": pins, "t": threshold })
}

fn tang(tang: &config::Tang) -> Value {
    let mut pin = Map::new();
    pin.insert("url".to_owned(), Value::String(tang.url.clone()));
    if let Some(thumbprint) = given(&tang.thumbprint) {
        pin.insert("thp".to_owned(), Value::String(thumbprint.to_owned()));
    }
    // Judged to be JSON when the config was validated.
    let advertisement = given(&tang.advertisement);
    if let Some(Ok(advertisement)) = advertisement.map(serde_json::from_str) {
        pin.insert("adv".to_owned(), advertisement);
    }
    Value::Object(pin)
}

fn names_tpm2(config: Option<&Value>) -> bool {
    config.is_some_and(|config| config["pins"].get("tpm2").is_some())
}

fn check_tpm2(at: &str, target: &Target<'_>, plan: &mut Plan) {
    match target.tpm2 {
        None | Some(Some(true)) => {}
        Some(Some(false)) => plan.refuse(at, "the machine has no TPM 2.0"),
        Some(None) => plan.refuse(at, "whether the machine has a TPM 2.0 is not known"),
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}
