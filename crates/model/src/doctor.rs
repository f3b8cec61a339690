//! What is wrong with a boot that has fallen silent, in words an operator can use.
//!
//! [`diagnose`] and [`silent_system`] look at one machine's state and the clock. What is wrong with the answer to a packet
//! is told with that packet, by [`crate::lifecycle::step`]; what nobody said can only be told by
//! waiting. docs/troubleshooting.md has a section for each [`Diagnosis`], by its name.

use std::collections::BTreeMap;

use crate::boot::{
    AGENT_IMAGE, Attempt, Diagnosis, FirmwareClass, Protocol, SHIM, Stage, Transfer, TransferEnd,
};
use crate::identity::MacAddress;
use crate::lifecycle::{MachineState, Phase, Timestamp, not_run};
use crate::quantity::Elapsed;

/// A minute without a word, in milliseconds.
const MINUTE: Timestamp = 60 * 1000;
/// Firmware asks four times in a minute (PXE 2.1 section 2.2.4: after 4, 8, 16 and 32 seconds), so the
/// third is late enough to know.
const OFFERS_IGNORED: u32 = 3;
/// How long an installed system may take to say that it runs: through the firmware of a large server, and
/// a first start that makes keys and fetches images.
const FIRST_START: Timestamp = 20 * MINUTE;
/// A boot of which nothing was heard for longer is not spoken of any more.
const LONGEST_SILENCE: Timestamp = 10 * MINUTE;

/// What is wrong with the machine's boot, and what was seen of it. `None` while all goes well, and when
/// it was told already in this attempt.
pub fn diagnose(state: &MachineState, now: Timestamp) -> Option<(Diagnosis, String)> {
    let attempt = state.boot.trying.as_ref()?;
    let silence = now.saturating_sub(attempt.heard);
    if silence > LONGEST_SILENCE {
        return None;
    }
    let (diagnosis, seen) = match attempt.stage {
        _ if attempt.is_lost() => not_started(state, attempt, silence),
        Stage::Offered => not_taken(attempt, silence, now),
        Stage::Taken => not_asked(attempt, silence),
        Stage::Asked => cut_off(attempt, silence),
        Stage::Started => no_script(attempt, silence),
        Stage::Scripted => no_agent(attempt, silence),
        Stage::Fetched => no_hello(silence),
    }?;
    let told = state.boot.told.get(&diagnosis);
    let is_news = told.is_none_or(|told| *told <= attempt.since);
    is_news.then_some((diagnosis, seen))
}

/// Whether a machine's installed system has not said that it runs, long after its disk was complete.
/// It is told once an installation, and again by an appliance that was restarted.
pub fn silent_system(state: &MachineState, now: Timestamp) -> Option<(Diagnosis, String)> {
    let installed = state.figures.installed?;
    let silence = now.saturating_sub(installed);
    if state.phase != Phase::Installed || silence < FIRST_START {
        return None;
    }
    let told = state.boot.told.get(&Diagnosis::SystemSilent);
    if told.is_some_and(|told| *told > installed) {
        return None;
    }
    let seen = format!(
        "its disk has been complete for {}, and the system on it has not said that it runs: it does not \
         start, has no network, or does not reach the appliance. Look at the machine's screen or its serial \
         console; `hardway reinstall` installs it again",
        Elapsed(silence)
    );
    Some((Diagnosis::SystemSilent, seen))
}

type Finding = Option<(Diagnosis, String)>;

fn not_taken(attempt: &Attempt, silence: Timestamp, now: Timestamp) -> Finding {
    let asking_for = now.saturating_sub(attempt.since);
    let goes_on = attempt.asked >= OFFERS_IGNORED && asking_for >= 10_000 && silence >= 3_000;
    let gave_up = attempt.asked >= 2 && silence >= MINUTE;
    (goes_on || gave_up).then(|| {
        let seen = format!(
            "asked for {} {} times in {}, was offered {}, and took no offer: the offers do not reach it, \
             or another server's pleases it more. Set its switch port to edge (no spanning-tree delay), \
             check the VLAN of the way back, and look for a second DHCP server",
            way(attempt),
            attempt.asked,
            Elapsed(attempt.heard.saturating_sub(attempt.since)),
            file(attempt),
        );
        (Diagnosis::OfferNotTaken, seen)
    })
}

fn not_asked(attempt: &Attempt, silence: Timestamp) -> Finding {
    (silence >= 20_000).then(|| {
        let port = match is_http(attempt) {
            true => "the appliance's HTTP port (TCP 80) is blocked",
            false => "UDP port 69 (TFTP) is blocked",
        };
        let seen = format!(
            "asked for {}, took its address, and never asked for {}: likely {port} on the way, or another \
             server named another boot file. Open the port between its network and the appliance",
            way(attempt),
            file(attempt),
        );
        (Diagnosis::BootFileNotAsked, seen)
    })
}

/// The boot file was asked for and did not arrive whole.
fn cut_off(attempt: &Attempt, silence: Timestamp) -> Finding {
    let patience = match attempt.transfer.as_ref().map(|transfer| &transfer.end) {
        Some(TransferEnd::Silence) => 5_000,
        // Firmware that only wanted to know the size comes back at once.
        Some(TransferEnd::Aborted { .. } | TransferEnd::Complete) => 20_000,
        // It is told when it ends, and takes its time where packets are lost.
        None => 3 * MINUTE,
    };
    (silence >= patience).then(|| {
        let what = match &attempt.transfer {
            Some(transfer) => stalled(transfer),
            None => format!(
                "asked for it {} ago, and has not got it: likely a path that loses packets. Look for \
                 errors on its switch port and cable",
                Elapsed(silence)
            ),
        };
        let seen = format!("asked for {}, was offered {}, {what}", way(attempt), file(attempt));
        (Diagnosis::TransferStalled, seen)
    })
}

/// What was seen of a transfer that ended early, and why that is.
fn stalled(transfer: &Transfer) -> String {
    let Transfer { bytes, size, .. } = transfer;
    let arrived = format!("fetched {} of {}", in_bytes(*bytes), in_bytes(*size));
    match (&transfer.end, transfer.protocol) {
        (TransferEnd::Aborted { message, .. }, _) => format!(
            "{arrived}, broke off ({message}), and did not come back: its firmware has no room for the \
             file or does not take it. Update its firmware, or name another file in `network.boot_files`"
        ),
        (_, Protocol::Tftp) if *bytes == 0 => format!(
            "{arrived}, then silence: likely a blocked UDP port above 1024, where the file itself is sent \
             from. Let UDP pass between its network and the appliance in both directions"
        ),
        (_, Protocol::Tftp) => format!(
            "{arrived}, then silence: likely a blocked UDP port above 1024, or a path that loses packets. \
             Look for errors on its switch port and cable, for an MTU below 1500 on the way, and for a \
             firewall that forgets UDP"
        ),
        (_, Protocol::Http) => format!(
            "{arrived}, then silence: likely a path that loses packets, or it was switched off. Look for \
             errors on its switch port and cable, and for an MTU below 1500 on the way"
        ),
    }
}

/// The boot file arrived whole, and nothing was heard of what is in it.
fn not_started(state: &MachineState, attempt: &Attempt, silence: Timestamp) -> Finding {
    let patience = match attempt.file.as_deref() {
        // A kernel, which drives all of the machine's hardware before its network.
        Some(AGENT_IMAGE) => 2 * MINUTE,
        _ => 45_000,
    };
    let transfer = attempt.transfer.as_ref().filter(|_| silence >= patience)?;
    let class = attempt.class.unwrap_or(FirmwareClass::Bios);
    let diagnosis = not_run(&state.boot, class, &transfer.file);
    let fetched = format!(
        "asked for {}, fetched all {} of {}, then silence for {}",
        way(attempt),
        in_bytes(transfer.size),
        transfer.file,
        Elapsed(silence),
    );
    let because = match diagnosis {
        Diagnosis::UnsignedUnderSecureBoot => {
            "most likely Secure Boot refused the file, which has no signature. Switch Secure Boot off in \
             the firmware's setup, or set `secure_boot: true` in the machine's profile. If it is off, the \
             file does not work with this network card, and the next one is offered at the next start"
        }
        _ if transfer.file == SHIM => {
            "the firmware does not trust Microsoft's UEFI certificate authority, or has forbidden this \
             version. Allow it in the firmware's setup, or update the payload"
        }
        _ => {
            "the file does not work with this firmware or network card. The next one is offered at the \
             next start: switch the machine off and on"
        }
    };
    Some((diagnosis, format!("{fetched}: {because}")))
}

fn no_script(attempt: &Attempt, silence: Timestamp) -> Finding {
    (silence >= 45_000).then(|| {
        let what = match attempt.file.as_deref() {
            Some(SHIM) => "GRUB started and never asked for its script",
            _ => "iPXE started and never asked for its script",
        };
        let seen = format!(
            "{what}: likely no link or no address in its own driver, or a blocked TCP port 80. Look at \
             the machine's screen, and let HTTP pass to the appliance"
        );
        (Diagnosis::ScriptNotAsked, seen)
    })
}

fn no_agent(attempt: &Attempt, silence: Timestamp) -> Finding {
    let broke_off = attempt
        .agent
        .as_ref()
        .filter(|transfer| !transfer.is_whole());
    let patience = match broke_off {
        Some(_) => 30_000,
        // A transfer is told when it ends, and the largest takes its time on a slow link.
        None => 3 * MINUTE,
    };
    (silence >= patience).then(|| {
        let seen = match (broke_off, &attempt.agent) {
            (Some(transfer), _) => format!("of {} it {}", transfer.file, stalled(transfer)),
            (None, Some(whole)) => format!(
                "fetched {} and nothing after it: likely it has too little memory for the rest (512 MB \
                 are enough), or was switched off. Look at the machine's screen",
                whole.file
            ),
            (None, None) => "was told to start the agent and never asked for the kernel: likely it was \
                             switched off, or TCP port 80 is blocked. Look at the machine's screen"
                .to_owned(),
        };
        (Diagnosis::AgentNotFetched, seen)
    })
}

fn no_hello(silence: Timestamp) -> Finding {
    (silence >= 2 * MINUTE).then(|| {
        let seen = format!(
            "has the kernel and the agent, and was silent for {}: likely the kernel has no driver for this \
             network card, or stopped at other hardware. Look at the machine's screen or its \
             serial console",
            Elapsed(silence)
        );
        (Diagnosis::AgentSilent, seen)
    })
}

/// Machines that share an SMBIOS UUID and no hardware address: by name, the UUID and the others' names.
/// A UUID of all zeros or all ones is nobody's.
pub fn duplicate_uuids<'a>(
    machines: impl IntoIterator<Item = (&'a str, &'a MachineState)>,
) -> Vec<(String, String)> {
    let mut by_uuid: BTreeMap<String, Vec<(&str, &[MacAddress])>> = BTreeMap::new();
    for (name, state) in machines {
        let uuid = state.identity.uuid.as_deref().map(str::to_lowercase);
        let Some(uuid) = uuid.filter(|uuid| crate::identity::is_telling(uuid)) else {
            continue;
        };
        let macs = state.identity.macs.as_slice();
        by_uuid.entry(uuid).or_default().push((name, macs));
    }
    let mut found = Vec::new();
    for (uuid, sharing) in by_uuid {
        for (name, macs) in &sharing {
            let is_another = |other: &&(&str, &[MacAddress])| {
                other.0 != *name && !other.1.iter().any(|mac| macs.contains(mac))
            };
            let others: Vec<&str> = sharing
                .iter()
                .filter(is_another)
                .map(|other| other.0)
                .collect();
            if let Some(words) = in_words(&others) {
                let seen = format!(
                    "its SMBIOS UUID {uuid} is also that of {words}: neither is recognised by it. Match \
                     both by `mac` or `serial`, and have the board's vendor set the UUID"
                );
                found.push(((*name).to_owned(), seen));
            }
        }
    }
    found
}

/// "node2", "node2 and 3 more".
fn in_words(names: &[&str]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    Some(match rest.len() {
        0 => (*first).to_owned(),
        more => format!("{first} and {more} more"),
    })
}

fn is_http(attempt: &Attempt) -> bool {
    matches!(
        attempt.class,
        Some(FirmwareClass::UefiX64Http | FirmwareClass::UefiArm64Http)
    )
}

/// "PXE", "HTTP Boot".
fn way(attempt: &Attempt) -> &'static str {
    match is_http(attempt) {
        true => "HTTP Boot",
        false => "PXE",
    }
}

fn file(attempt: &Attempt) -> &str {
    attempt.file.as_deref().unwrap_or("an address")
}

/// "214 KB", in the thousands that firmware and operators count in.
fn in_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}
