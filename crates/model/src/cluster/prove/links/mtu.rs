//! MTUs: what carries a packet has to take it whole.

use std::collections::BTreeMap;

use super::Controllers;
use super::drafts::{Draft, DraftKind};
use crate::cluster::diagnostics::Problems;
use crate::cluster::raw::links::RawLinks;
use crate::cluster::raw::read::Located;

/// What a link without any has (RFC 894).
const USUAL: u16 = 1500;
/// What IPv6 asks of every link (RFC 8200, section 5). Below it the kernel ends IPv6 on the link.
const LEAST: u64 = 1280;

/// The MTU of each link, by name. `drafts` are in order.
pub(super) fn mtus(
    file: &RawLinks,
    drafts: &[Draft<'_>],
    controllers: &Controllers,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Option<u16>> {
    let everywhere = file.mtu.given().and_then(|mtu| size(mtu, problems));
    let own: BTreeMap<&str, u16> = drafts
        .iter()
        .filter_map(|draft| Some((draft.name(), size(draft.mtu?, problems)?)))
        .collect();
    let said = |name: &str| own.get(name).copied().or(everywhere);
    let mut mtus: BTreeMap<String, Option<u16>> = BTreeMap::new();
    for draft in drafts {
        let below = draft.below().iter();
        let below = below.map(|link| mtus.get(&link.value).copied().flatten());
        let least = below.clone().map(|mtu| mtu.unwrap_or(USUAL)).min();
        let bond = controllers.get(draft.name()).filter(|found| found.is_bond);
        let mtu = match (draft.kind, bond) {
            (DraftKind::Port(_), Some(bond)) => said(&bond.name),
            (DraftKind::Vlan { .. }, _) => {
                let inherited = below.clone().next().flatten();
                own.get(draft.name()).copied().or(inherited)
            }
            // Of the members that the default does not reach it has the least.
            (DraftKind::Bridge(_), _) => {
                let reached = everywhere.map(|mtu| least.map_or(mtu, |least| least.min(mtu)));
                own.get(draft.name()).copied().or(reached)
            }
            _ => said(draft.name()),
        };
        if let Some(place) = draft.mtu.filter(|_| own.contains_key(draft.name())) {
            check(
                draft,
                place,
                mtu,
                bond.map(|bond| bond.name.as_str()),
                least,
                problems,
            );
        }
        mtus.insert(draft.name().to_owned(), mtu);
    }
    mtus
}

fn check(
    draft: &Draft<'_>,
    place: &Located<u64>,
    mtu: Option<u16>,
    bond: Option<&str>,
    least_below: Option<u16>,
    problems: &mut Problems<'_>,
) {
    if let Some(bond) = bond {
        if u64::from(mtu.unwrap_or(USUAL)) != place.value {
            let message = format!("`{}` has the MTU of `{bond}`", draft.name());
            let help = format!("give `{bond}` the `mtu`, and remove it here");
            place.complain(problems, message, help);
        }
    } else if let Some(least) = least_below.filter(|least| u64::from(*least) < place.value)
        && !matches!(draft.kind, DraftKind::Bond { .. })
    {
        let message = format!("what carries `{}` has an MTU of {least}", draft.name());
        place.complain(
            problems,
            message,
            "give that a larger `mtu`, or this a smaller one",
        );
    }
}

fn size(mtu: &Located<u64>, problems: &mut Problems<'_>) -> Option<u16> {
    let size = u16::try_from(mtu.value).ok();
    let size = size.filter(|_| mtu.value >= LEAST);
    if size.is_none() {
        let message = format!("an MTU of {} is out of range", mtu.value);
        mtu.complain(
            problems,
            message,
            "from 1280, which IPv6 needs; 1500 and 9000 are usual",
        );
    }
    size
}
