//! The server's policy (RFC 2131 section 4.3), and the boot server's.

use std::net::Ipv4Addr;

use hardway_model::boot::Diagnosis;
use hardway_model::lifecycle::{Severity, Timestamp};

use super::addresses::{Addresses, NoAddress, Pick};
use super::client;
use super::leases::{ClientId, Lease};
use super::message::Output;
use super::packet::{LONGEST_IDENTIFIER, MessageType, code};
use super::turn::Turn;
use super::watch::Watch;
use crate::answer::Answer;

/// How long an address rests that a client found in use, in milliseconds.
const DECLINED_FOR: u64 = 600_000;

/// What came of a DISCOVER.
pub enum Discovered {
    /// An offer, which may leave at once.
    Now(Vec<Output>),
    /// An offer that leaves when nobody has said until then that the address is used.
    Later(Pick, Vec<Output>),
}

/// Whether a client may have the address that it asks for.
enum Verdict {
    Granted,
    Refused(String),
    /// Another server may know the client: no answer.
    Unknown,
}

/// Makes an offer.
pub fn discover(turn: &Turn<'_, '_>, addresses: &mut Addresses) -> Discovered {
    let holder = &turn.request.holder;
    let picked = match reservation(turn, addresses) {
        Some((reserved, probe)) => Ok(addresses.hold(holder, reserved, probe, turn.now)),
        None => {
            let wish = turn.request.address_option(code::REQUESTED_ADDRESS);
            addresses.offer(holder, turn.network, wish, turn.now)
        }
    };
    let pick = match picked {
        Ok(pick) => pick,
        Err(error) => return Discovered::Now(no_offer(turn, error)),
    };
    let address = pick.address;
    let said = format!(
        "offered {address}{}{}",
        turn.boot_summary(),
        turn.circumstance
    );
    let mut outputs = vec![turn.send(turn.content().lease(MessageType::Offer, address))];
    // The client has no address before it is acknowledged.
    outputs.extend(turn.observed(None, &said));
    match pick.ready > turn.now {
        true => Discovered::Later(pick, outputs),
        false => Discovered::Now(outputs),
    }
}

fn no_offer(turn: &Turn<'_, '_>, error: NoAddress) -> Vec<Output> {
    let mut outputs = Vec::new();
    let said = format!("no offer: {error}");
    outputs.extend(turn.observed(None, &said));
    if let NoAddress::Exhausted(_) = error {
        outputs.extend(turn.diagnosed(Diagnosis::PoolExhausted, error.to_string()));
        outputs.push(Output::Notice {
            kind: "pool-exhausted",
            severity: Severity::Error,
            text: format!("{} gets no address: {error}", turn.request.holder),
        });
    } else {
        outputs.push(Output::Ignored(said));
    }
    outputs
}

/// Decides a REQUEST. The client's states are told apart as in RFC 2131 table 4.
pub fn request(turn: &Turn<'_, '_>, addresses: &mut Addresses, watch: &mut Watch) -> Vec<Output> {
    let request = turn.request;
    let holder = &request.holder;
    let wanted = request.address_option(code::REQUESTED_ADDRESS);
    match (request.address_option(code::SERVER_IDENTIFIER), wanted) {
        (Some(server), _) if !turn.is_this_server(server) => {
            addresses.withdraw(holder);
            let mut outputs = Vec::new();
            if let Some(seen) = watch.heard_of(server, holder, turn.now, &mut outputs) {
                outputs.extend(turn.diagnosed(Diagnosis::ForeignServer, seen));
            }
            outputs.push(Output::Ignored(format!(
                "{holder} took the offer of {server}"
            )));
            outputs
        }
        (Some(_), Some(wanted)) => decide(turn, addresses, wanted, false),
        (None, Some(wanted)) => decide(turn, addresses, wanted, true),
        (_, None) if !request.client_address.is_unspecified() => {
            decide(turn, addresses, request.client_address, false)
        }
        (_, None) => ignored(format!("{holder} asks for no address")),
    }
}

fn decide(
    turn: &Turn<'_, '_>,
    addresses: &mut Addresses,
    wanted: Ipv4Addr,
    reboot: bool,
) -> Vec<Output> {
    let holder = &turn.request.holder;
    match verdict(turn, addresses, wanted, reboot) {
        Verdict::Granted => acknowledge(turn, addresses, wanted),
        Verdict::Refused(reason) => {
            addresses.withdraw(holder);
            let mut outputs = vec![turn.send(turn.content().refusal(&reason))];
            outputs.extend(turn.observed(None, &format!("refused {wanted}: {reason}")));
            outputs
        }
        Verdict::Unknown => ignored(format!("{holder} is not known to hold {wanted}")),
    }
}

fn acknowledge(turn: &Turn<'_, '_>, addresses: &mut Addresses, address: Ipv4Addr) -> Vec<Output> {
    let mut outputs = Vec::new();
    // A client has one address in a network: what it had before there is free again.
    let former: Vec<Lease> = addresses
        .leases
        .of(&turn.request.holder)
        .filter(|lease| {
            lease.address != address
                && lease.expires > turn.now
                && turn.network.contains(lease.address)
        })
        .map(|lease| ended(lease, turn.now))
        .collect();
    for lease in former {
        addresses.lease(lease.clone());
        outputs.push(Output::StoreLease(lease));
    }
    let lease = lease_of(turn, addresses, address);
    addresses.withdraw(&turn.request.holder);
    addresses.lease(lease.clone());
    outputs.push(Output::StoreLease(lease));
    outputs.push(turn.send(turn.content().lease(MessageType::Ack, address)));
    let said = format!("given {address}{}", turn.boot_summary());
    outputs.extend(turn.observed(Some(address), &said));
    outputs
}

fn lease_of(turn: &Turn<'_, '_>, addresses: &Addresses, address: Ipv4Addr) -> Lease {
    let request = turn.request;
    let lasts = u64::try_from(turn.network.lease.as_millis()).unwrap_or(u64::MAX);
    let former = addresses.leases.last(address);
    let former = former.filter(|lease| lease.holder().as_ref() == Some(&request.holder));
    // Firmware gives no name, and does not take away what the system on the machine said before.
    let host_name =
        client::host_name(request).or_else(|| former.and_then(|lease| lease.host_name.clone()));
    Lease {
        address,
        mac: request.mac,
        client_id: request
            .option(code::CLIENT_IDENTIFIER)
            .filter(|identifier| identifier.len() <= LONGEST_IDENTIFIER)
            .map(|identifier| ClientId(identifier.to_vec())),
        host_name,
        machine: turn.machine.map(|(machine, _)| machine.name.clone()),
        expires: turn.now.saturating_add(lasts),
    }
}

/// RFC 2131 section 4.3.2, for a server that knows every machine of its networks.
fn verdict(turn: &Turn<'_, '_>, addresses: &Addresses, wanted: Ipv4Addr, reboot: bool) -> Verdict {
    let holder = &turn.request.holder;
    if !turn.network.has_host(wanted) {
        return Verdict::Refused(format!("{wanted} is in another network"));
    }
    match reservation(turn, addresses) {
        // What another NIC of the machine holds is given when it was offered: nobody answered then.
        Some((reserved, taken_over))
            if reserved == wanted
                && (!taken_over || addresses.leases.offered_to(holder) == Some(wanted)) =>
        {
            return Verdict::Granted;
        }
        Some((reserved, false)) => {
            return Verdict::Refused(format!("this machine's address is {reserved}"));
        }
        _ => {}
    }
    if !turn.network.pool_contains(wanted) || addresses.is_reserved(wanted) {
        return Verdict::Refused(format!("{wanted} is not in the pool"));
    }
    if !addresses.leases.is_free_for(holder, wanted, turn.now) {
        return Verdict::Refused(format!("{wanted} belongs to another machine"));
    }
    let is_held = addresses.leases.holds(holder, wanted, turn.now);
    if let Some(stranger) = addresses.stranger_at(wanted, turn.request.mac)
        && !is_held
    {
        return Verdict::Refused(format!("{wanted} is used by {stranger}"));
    }
    // A client that returns with an address that nobody recorded may be another server's. One that
    // renews it was given it here: by an appliance that has lost its state since.
    match reboot && !addresses.leases.was_held_by(holder, wanted) {
        true => Verdict::Unknown,
        false => Verdict::Granted,
    }
}

/// The address that cluster.yaml reserves for the client on its network, unless a stranger holds it now.
///
/// A NIC that the machine no longer has holds nothing. One that it may still have, since cluster.yaml
/// names it, holds the address while it answers for it: then the second value is true, and the address
/// has to be asked for.
fn reservation(turn: &Turn<'_, '_>, addresses: &Addresses) -> Option<(Ipv4Addr, bool)> {
    let (machine, state) = turn.machine?;
    let address = machine.address.filter(|own| turn.network.contains(*own))?;
    let leases = &addresses.leases;
    if leases.is_free_for(&turn.request.holder, address, turn.now) {
        return Some((address, false));
    }
    let lease = leases.at(address, turn.now)?;
    let holder = lease.mac?;
    let of_this_machine = lease.machine.as_deref() == Some(machine.name.as_str());
    let answers = addresses.stranger_at(address, turn.request.mac).is_some();
    let may_be_there =
        machine.matches.macs.contains(&holder) || state.identity.macs.contains(&holder);
    (of_this_machine && !(may_be_there && answers)).then_some((address, may_be_there))
}

/// A client found its address used by somebody else.
pub fn decline(turn: &Turn<'_, '_>, addresses: &mut Addresses) -> Vec<Output> {
    let holder = &turn.request.holder;
    let declined = turn.request.address_option(code::REQUESTED_ADDRESS);
    let held = declined.filter(|address| {
        addresses.leases.holds(holder, *address, turn.now)
            || addresses.leases.offered_to(holder) == Some(*address)
    });
    let Some(address) = held.filter(|_| turn.is_for_this_server()) else {
        return ignored(format!(
            "{holder} declines an address that it was not given"
        ));
    };
    let rest = Lease::new(address, None, turn.now.saturating_add(DECLINED_FOR));
    addresses.lease(rest.clone());
    let said = format!("{address} rests for ten minutes, since somebody else uses it");
    let mut outputs = vec![
        Output::StoreLease(rest),
        Output::Notice {
            kind: "address-conflict",
            severity: Severity::Warning,
            text: format!(
                "{holder} found {address} used by somebody else; it rests for ten minutes"
            ),
        },
    ];
    outputs.extend(turn.observed(None, &said));
    let seen = format!("it found {address} used by somebody else");
    outputs.extend(turn.diagnosed(Diagnosis::AddressConflict, seen));
    outputs
}

/// A client gives its address back.
pub fn release(turn: &Turn<'_, '_>, addresses: &mut Addresses) -> Vec<Output> {
    let (holder, address) = (&turn.request.holder, turn.request.client_address);
    let lease = addresses
        .leases
        .at(address, turn.now)
        .filter(|_| addresses.leases.holds(holder, address, turn.now));
    let Some(lease) = lease.filter(|_| turn.is_for_this_server()) else {
        return ignored(format!(
            "{holder} releases {address}, which it does not hold"
        ));
    };
    let ended = ended(lease, turn.now);
    addresses.lease(ended.clone());
    let mut outputs = vec![Output::StoreLease(ended)];
    outputs.extend(turn.observed(None, &format!("{address} is free again")));
    outputs
}

fn ended(lease: &Lease, now: Timestamp) -> Lease {
    Lease {
        expires: now,
        ..lease.clone()
    }
}

/// A client has an address and wants the rest (RFC 2131 section 4.3.5). Who lies in no served network is
/// not answered: its address was not proven by any of them.
pub fn inform(turn: &Turn<'_, '_>) -> Vec<Output> {
    let address = turn.request.client_address;
    if address.is_unspecified() {
        return ignored(format!("{} informs of no address", turn.request.holder));
    }
    if !turn.network.has_host(address) {
        return ignored(format!("{address} is in another network"));
    }
    let mut outputs = vec![turn.send(turn.content().information())];
    outputs.extend(turn.observed(Some(address), &format!("told the options beside {address}")));
    outputs
}

/// A proxy on port 67 (PXE 2.1 section 2.2.3): an offer without an address to who wants to boot.
pub fn propose(turn: &Turn<'_, '_>) -> Vec<Output> {
    let holder = &turn.request.holder;
    let address = turn.request.address_option(code::REQUESTED_ADDRESS);
    match turn.request.kind {
        MessageType::Discover if has_boot(&turn.answer) => {
            let mut outputs = vec![turn.send(turn.content().boot_only(MessageType::Offer))];
            let said = format!(
                "offered{}{}",
                turn.boot_summary().trim_start_matches(" and"),
                turn.circumstance
            );
            outputs.extend(turn.observed(None, &said));
            outputs
        }
        MessageType::Discover => {
            let mut outputs = ignored(format!("{holder} gets its address of another server"));
            let nothing = turn.boot_summary();
            let said = match nothing.strip_prefix(" and ") {
                Some(nothing) => format!("{nothing}{}", turn.circumstance),
                None => format!("left to the other server{}", turn.circumstance),
            };
            outputs.extend(turn.observed(None, &said));
            outputs
        }
        MessageType::Request => {
            let address = address.unwrap_or(turn.request.client_address);
            let server = turn.request.address_option(code::SERVER_IDENTIFIER);
            let of = server.map_or_else(String::new, |server| format!(" of {server}"));
            let mut outputs = ignored(format!("{holder} asks for {address}{of}"));
            let known = Some(address).filter(|address| !address.is_unspecified());
            outputs.extend(turn.observed(known, &format!("takes {address}{of}")));
            outputs
        }
        _ => ignored("another server gives the addresses"),
    }
}

/// A boot server on port 4011 (PXE 2.1 section 2.2.5): UEFI asks there by REQUEST, ROMs by INFORM too.
pub fn boot_server(turn: &Turn<'_, '_>) -> Vec<Output> {
    let asks = matches!(
        turn.request.kind,
        MessageType::Request | MessageType::Inform | MessageType::Discover
    );
    if !asks || !has_boot(&turn.answer) {
        return ignored(format!(
            "{} asks the boot server for nothing",
            turn.request.holder
        ));
    }
    let mut outputs = vec![turn.send(turn.content().boot_only(MessageType::Ack))];
    let address = turn.request.client_address;
    let known = Some(address).filter(|address| !address.is_unspecified());
    let said = format!("told{}", turn.boot_summary().trim_start_matches(" and"));
    outputs.extend(turn.observed(known, &said));
    outputs
}

fn has_boot(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::BootFile(_) | Answer::HttpBootFile(_) | Answer::ScriptUrl
    )
}

/// No answer, and why.
pub fn ignored(reason: impl Into<String>) -> Vec<Output> {
    vec![Output::Ignored(reason.into())]
}
