//! Config parts and check URLs are templates over the cluster and one machine.
//!
//! A template sees:
//!
//! | name | what |
//! | --- | --- |
//! | `cluster` | `name`, `domain` |
//! | `network` | `address`, `ntp`, `dns` (the appliance's); `prefix`, `netmask`, `network`, `broadcast`, `gateway` (the machine's own) |
//! | `machine` | `name`, `address`, `addresses`, `profile`, `macs`, `serial`, `uuid`, `fqdn`, `links` (by name: `mac`, `mtu`, `address`, `prefix`) |
//! | `peers` | every declared machine of the same profile, this one included: `name`, `address`, `addresses`, `fqdn` |
//! | `vars` | the profile's variables, overlaid by the machine's |
//!
//! It sees no environment, no file, no network and no clock. A name that is not there is an error,
//! never an empty text; what may be missing is asked for with `is defined` or `| default(…)`. `pki`
//! is reserved for files that the appliance issues, and is not there yet.

use std::collections::BTreeMap;
use std::fmt::Display;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::{Cluster, Machine};
use crate::network::{Link, LinkAddress};

/// Renders `source` for one machine. `name` is what errors are shown under.
pub fn render(
    source: &str,
    name: &str,
    cluster: &Cluster,
    machine: &Machine,
) -> Result<String, TemplateError> {
    let render = || {
        let syntax = SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // By default the name's ending would decide how values are escaped.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_debug(true);
        environment.render_named_str(name, source, variables(cluster, machine))
    };
    render().map_err(|error| TemplateError::new(&error, source, name))
}

/// Why a template could not be rendered, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{message}\n{margin}┌─ {name}:{line}\n{line}│ {source_line}",
    margin = " ".repeat(line.to_string().len())
)]
pub struct TemplateError {
    /// The template's name, as in cluster.yaml.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    /// The line itself.
    pub source_line: String,
    /// What is wrong with it.
    pub message: String,
}

impl TemplateError {
    fn new(error: &minijinja::Error, source: &str, name: &str) -> Self {
        let line = error.line().unwrap_or(1).max(1);
        let place = error.range().and_then(|range| source.get(range));
        let detail = error.detail().map(str::to_owned);
        let message = match (error.kind(), place) {
            (minijinja::ErrorKind::UndefinedError, Some(expression)) => {
                format!("`{}` is not defined", expression.trim())
            }
            (kind, _) => match detail {
                Some(detail) => format!("{kind}: {detail}"),
                None => kind.to_string(),
            },
        };
        Self {
            name: name.to_owned(),
            line,
            source_line: source.lines().nth(line - 1).unwrap_or_default().to_owned(),
            message,
        }
    }
}

fn variables(cluster: &Cluster, machine: &Machine) -> Value {
    let network = &cluster.network;
    let own = machine
        .address
        .and_then(|address| network.network_of(address));
    let own = own.unwrap_or_else(|| network.own());
    let mut vars = cluster
        .profile(&machine.profile)
        .map(|profile| profile.vars.clone())
        .unwrap_or_default();
    vars.extend(machine.vars.clone());
    let peers: Vec<BTreeMap<&str, Value>> = cluster
        .machines_of(&machine.profile)
        .map(|peer| named(cluster, peer))
        .collect();

    let mut this = named(cluster, machine);
    this.insert("profile", Value::from(&machine.profile));
    this.insert("macs", machine.matches.macs.iter().map(text).collect());
    insert(&mut this, "serial", machine.matches.serial.as_ref());
    insert(&mut this, "uuid", machine.matches.uuid.as_ref());
    this.insert("links", links(cluster, machine));

    let mut surroundings = BTreeMap::from([
        ("address", text(network.address)),
        ("prefix", Value::from(own.prefix)),
        ("netmask", text(own.netmask())),
        ("network", text(own.network)),
        ("broadcast", text(own.broadcast())),
        ("ntp", network.ntp.iter().map(text).collect()),
        ("dns", Value::from(vec![text(network.address)])),
    ]);
    insert(&mut surroundings, "gateway", own.gateway);

    context! {
        cluster => context! { name => &cluster.name, domain => &cluster.domain },
        network => surroundings,
        machine => this,
        peers => peers,
        vars => Value::from(Serde(vars)),
    }
}

/// What a template sees of any machine. An address that is not declared is not there.
fn named<'a>(cluster: &Cluster, machine: &Machine) -> BTreeMap<&'a str, Value> {
    let mut map = BTreeMap::from([
        ("name", Value::from(&machine.name)),
        (
            "fqdn",
            Value::from(format!("{}.{}", machine.name, cluster.domain)),
        ),
    ]);
    insert(&mut map, "address", machine.address);
    let addresses = machine.addresses.iter();
    let addresses: BTreeMap<String, Value> = addresses
        .map(|(link, address)| (link.clone(), text(address)))
        .collect();
    map.insert("addresses", Value::from(addresses));
    map
}

/// The links of the installed system, by name; none where the profile leaves them to the image. An MTU
/// that is not said, and an address that does change, are not there.
fn links(cluster: &Cluster, machine: &Machine) -> Value {
    let network = cluster.machine_network(machine).unwrap_or_default();
    let link = |link: Link| {
        let mut map = BTreeMap::from([("mac", text(link.mac))]);
        map.extend(link.mtu.map(|mtu| ("mtu", Value::from(mtu))));
        if let LinkAddress::Static(fixed) = link.address {
            map.insert("address", text(fixed.address));
            map.insert("prefix", Value::from(fixed.prefix));
        }
        (link.name, Value::from(map))
    };
    let links: BTreeMap<String, Value> = network.links.into_iter().map(link).collect();
    Value::from(links)
}

fn insert<'a>(map: &mut BTreeMap<&'a str, Value>, key: &'a str, value: Option<impl Display>) {
    if let Some(value) = value {
        map.insert(key, text(value));
    }
}

fn text(value: impl Display) -> Value {
    Value::from(value.to_string())
}
