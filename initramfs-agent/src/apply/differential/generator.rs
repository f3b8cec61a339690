//! Configurations of spec 3.0 to 3.3 and the trees that they meet, drawn from small sets, so that
//! they meet often.
//!
//! One refusal hides all else that a configuration asks for. So whatever both programs refuse whenever
//! it comes up is drawn seldom ([`seldom`]), so that about a quarter of the cases are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::world::{NODES, World};

/// One comparison.
#[derive(Clone)]
pub struct Case {
    /// What is there.
    pub world: World,
    /// What is asked for.
    pub config: Value,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n{:#}", self.world, self.config)
    }
}

impl Case {
    /// The units that the configuration enables, instances by their own name.
    pub fn enabled(&self) -> BTreeSet<String> {
        let units = self.config["systemd"]["units"].as_array();
        units
            .into_iter()
            .flatten()
            .filter(|unit| unit["enabled"] == true)
            .filter_map(|unit| unit["name"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

pub fn case() -> impl Strategy<Value = Case> {
    (world(), config()).prop_map(|(world, config)| Case { world, config })
}

fn world() -> impl Strategy<Value = World> {
    (
        vec(proptest::bool::weighted(0.87), NODES.len()),
        any::<bool>(),
        select(vec![None, Some("0700"), Some("0750")]),
        any::<bool>(),
    )
        .prop_map(
            |(nodes, user_groups, home_mode, has_subordinate_ids)| World {
                nodes,
                user_groups,
                home_mode,
                has_subordinate_ids,
            },
        )
}

fn config() -> impl Strategy<Value = Value> {
    (
        select(vec!["3.0.0", "3.1.0", "3.2.0", "3.3.0"]),
        vec(group(), 0..3),
        vec(user(), 0..3),
        (vec(directory(), 0..3), vec(file(), 0..4), vec(link(), 0..3)),
        vec(unit(), 0..4),
        // Most configurations ask for one kind of thing or another: a refusal of one hides the rest.
        (any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(version, groups, users, storage, units, (accounts, nodes, services))| {
                let (directories, files, links) = storage;
                let when = |wanted: bool, list: Vec<Value>| if wanted { list } else { Vec::new() };
                let mut paths = BTreeSet::new();
                let mut once = |list: Vec<Value>| -> Vec<Value> {
                    let is_new = |entry: &Value| paths.insert(entry["path"].to_string());
                    when(nodes, list.into_iter().filter(is_new).collect())
                };
                json!({
                    "ignition": {"version": version},
                    "passwd": {
                        "groups": by_name(when(accounts, groups)),
                        "users": by_name(when(accounts, users)),
                    },
                    "storage": {
                        "directories": once(directories),
                        "files": once(files),
                        "links": once(links),
                    },
                    "systemd": {"units": by_name(when(services, units))},
                })
            },
        )
}

/// One of each name: two are refused by both.
fn by_name(list: Vec<Value>) -> Vec<Value> {
    let named: BTreeMap<String, Value> = list
        .into_iter()
        .map(|entry| (entry["name"].to_string(), entry))
        .collect();
    named.into_values().collect()
}

/// An object of what is given.
fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let given = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

/// Mostly the first, and once in twenty times the second.
fn seldom<T: fmt::Debug>(
    usual: impl Strategy<Value = T>,
    rare: impl Strategy<Value = T>,
) -> impl Strategy<Value = T> {
    prop_oneof![19 => usual, 1 => rare]
}

/// Some of these, seldom one of them twice.
fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<Value>> {
    let once = subsequence(values.to_vec(), 0..=2);
    seldom(
        once.prop_map(|list| list.into_iter().map(Value::from).collect()),
        vec(one_of(values), 0..3),
    )
}

fn one_of(values: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
    select(values.to_vec()).prop_map(Value::from)
}

fn number(values: &[u32]) -> impl Strategy<Value = Value> + use<> {
    select(values.to_vec()).prop_map(Value::from)
}

fn yes() -> impl Strategy<Value = Value> {
    any::<bool>().prop_map(Value::from)
}

fn path() -> impl Strategy<Value = Value> {
    const FOLDERS: &[&str] = &[
        "",
        "",
        "/data",
        "/data/sub",
        "/data/d",
        "/lnk",
        "/lnk/sub",
        "/rel",
        "/srv/up",
        "/srv/missing",
        "/opt/top",
        "/opt/top/data",
        "/new",
        "/new/deep",
        "/data/l",
        "/home/old",
        "/etc",
        "/etc/systemd/system",
        "/srv/up/rel",
    ];
    const NAMES: &[&str] = &["x", "y", "f", "d", "l", "new", "sub", "dangling"];
    // A file may stand there.
    let folder = seldom(select(FOLDERS.to_vec()), Just("/f"));
    (folder, select(NAMES.to_vec())).prop_map(|(folder, name)| format!("{folder}/{name}").into())
}

/// `strangers` are names that need not be there.
fn owner(
    names: &'static [&'static str],
    strangers: &'static [&'static str],
) -> impl Strategy<Value = Value> {
    prop_oneof![
        number(&[0, 7, 1000, 4000]).prop_map(|id| json!({"id": id})),
        seldom(one_of(names), one_of(strangers)).prop_map(|name| json!({"name": name})),
    ]
}

fn node() -> impl Strategy<Value = Vec<(&'static str, Option<Value>)>> {
    (
        path(),
        weighted(0.3, owner(&["root", "old", ""], &["core", "nobody-here"])),
        weighted(0.3, owner(&["root", "wheel", "old", ""], &["g1"])),
        weighted(0.7, seldom(Just(true), Just(false))),
    )
        .prop_map(|(path, user, group, overwrite)| {
            vec![
                ("path", Some(path)),
                ("user", user),
                ("group", group),
                ("overwrite", overwrite.map(Value::from)),
            ]
        })
}

fn directory() -> impl Strategy<Value = Value> {
    (
        node(),
        weighted(0.5, number(&[0o755, 0o700, 0o1777, 0o2750, 0])),
    )
        .prop_map(|(mut node, mode)| {
            node.push(("mode", mode));
            object(node)
        })
}

fn file() -> impl Strategy<Value = Value> {
    (
        node(),
        weighted(0.5, number(&[0o644, 0o600, 0o755, 0o4755, 0o2711, 0])),
        weighted(0.7, contents()),
        vec(contents(), 0..3),
        weighted(0.4, Just(())),
    )
        .prop_map(|(mut node, mode, contents, append, appends)| {
            if contents.is_none() {
                // Overwriting with nothing is no valid configuration.
                node.retain(|(key, value)| *key != "overwrite" || *value == Some(false.into()));
            }
            node.push(("mode", mode));
            node.push(("contents", contents));
            node.push(("append", appends.map(|()| append.into())));
            object(node)
        })
}

fn contents() -> impl Strategy<Value = Value> {
    let text = select(vec![
        "",
        "one\n",
        "two",
        "\u{0}\u{1}binary \u{fffd}",
        "a%20b,c;d",
    ]);
    let hash = seldom(
        select(vec![None, Some("sha512")]),
        select(vec![Some("sha256"), Some("wrong")]),
    );
    (text, any::<bool>(), hash, weighted(0.05, Just(()))).prop_map(
        |(text, is_packed, hash, nothing)| resource(text, is_packed, hash, nothing.is_some()),
    )
}

fn resource(text: &str, is_packed: bool, hash: Option<&str>, nothing: bool) -> Value {
    use base64::Engine;
    use std::io::Write;
    let mut bytes = text.as_bytes().to_vec();
    if is_packed {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        bytes = packer.finish().unwrap();
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let source = match nothing {
        true => "".to_owned(),
        false => format!("data:;base64,{encoded}"),
    };
    let hex =
        |digest: &[u8]| -> String { digest.iter().map(|byte| format!("{byte:02x}")).collect() };
    let hash = hash.map(|kind| match kind {
        "sha256" => format!("sha256-{}", hex(&Sha256::digest(text))),
        "sha512" => format!("sha512-{}", hex(&Sha512::digest(text))),
        _ => format!("sha512-{}", hex(&Sha512::digest("other"))),
    });
    object(vec![
        ("source", Some(source.into())),
        ("compression", is_packed.then(|| "gzip".into())),
        ("verification", hash.map(|hash| json!({"hash": hash}))),
    ])
}

/// None of the targets is anything outside the root of the real program.
fn link() -> impl Strategy<Value = Value> {
    const FILES: &[&str] = &["/data/f", "/data/sub/f", "data/./sub/f", "/f"];
    const ANYTHING: &[&str] = &["/data", "../x", "sub", "/nowhere", "data/./sub", "/rel/f"];
    let soft = prop_oneof![one_of(FILES), one_of(ANYTHING)];
    let hard = seldom(one_of(FILES), one_of(ANYTHING));
    let target =
        prop_oneof![2 => (weighted(0.5, Just(false)), soft), 1 => (Just(Some(true)), hard)];
    (node(), target).prop_map(|(mut node, (hard, target))| {
        node.push(("target", Some(target)));
        node.push(("hard", hard.map(Value::from)));
        object(node)
    })
}

fn group() -> impl Strategy<Value = Value> {
    (
        seldom(
            one_of(&["g1", "g2", "core", "svc"]),
            one_of(&["wheel", "docker"]),
        ),
        weighted(0.3, seldom(number(&[500, 1001, 4000]), number(&[1000]))),
        weighted(0.3, one_of(&["", "!", "$6$salt$group"])),
        weighted(0.3, yes()),
        weighted(0.3, yes()),
    )
        .prop_map(|(name, gid, hash, system, should_exist)| {
            object(vec![
                ("name", Some(name)),
                ("gid", gid),
                ("passwordHash", hash),
                ("system", system),
                ("shouldExist", should_exist),
            ])
        })
}

fn user() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "ssh-ed25519 AAAA core",
        "ssh-rsa BBBB old",
        "ssh-rsa CCCC end\n",
    ];
    const HOMES: &[&str] = &["", "/home/core", "/var/home/core", "/lnk/home", "/new"];
    // A home that is to be made there, or moved there, mostly cannot.
    const STANDING: &[&str] = &["/data", "/srv/missing/h"];
    let groups = seldom(
        some_of(&["wheel", "docker", "users"]),
        some_of(&["wheel", "g1", "100"]),
    );
    let account = (
        one_of(&["core", "core", "svc", "old", "root"]),
        weighted(0.2, seldom(number(&[500, 1001, 4000]), number(&[1000]))),
        weighted(0.4, one_of(&["", "*", "$6$salt$hash"])),
        weighted(0.3, one_of(&["", "A Person,,,"])),
        weighted(0.4, seldom(one_of(HOMES), one_of(STANDING))),
        weighted(
            0.2,
            seldom(one_of(&["wheel", "100", "old", ""]), one_of(&["g1"])),
        ),
        weighted(0.4, groups),
        weighted(0.3, one_of(&["/bin/zsh", "/sbin/nologin", ""])),
    );
    let flags = (
        weighted(0.2, yes()),
        weighted(0.2, yes()),
        weighted(0.2, yes()),
        weighted(0.2, yes()),
        weighted(0.2, yes()),
    );
    (account, flags, weighted(0.5, some_of(KEYS))).prop_map(
        |((name, uid, hash, gecos, home, primary, groups, shell), flags, keys)| {
            let (no_create_home, no_user_group, no_log_init, system, should_exist) = flags;
            object(vec![
                ("name", Some(name)),
                ("uid", uid),
                ("passwordHash", hash),
                ("gecos", gecos),
                ("homeDir", home),
                ("primaryGroup", primary),
                ("groups", groups.map(Value::from)),
                ("shell", shell),
                ("noCreateHome", no_create_home),
                ("noUserGroup", no_user_group),
                ("noLogInit", no_log_init),
                ("system", system),
                ("shouldExist", should_exist),
                ("sshAuthorizedKeys", keys.map(Value::from)),
            ])
        },
    )
}

fn unit() -> impl Strategy<Value = Value> {
    const TEXTS: &[&str] = &[
        "",
        "[Service]\nExecStart=/x\n",
        "[Unit]\n[Install]\nWantedBy=multi-user.target\n",
    ];
    let dropin = (
        one_of(&["10-a.conf", "old.conf"]),
        weighted(0.8, one_of(TEXTS)),
    )
        .prop_map(|(name, contents)| object(vec![("name", Some(name)), ("contents", contents)]));
    (
        one_of(&[
            "a.service",
            "b.service",
            "c.service",
            "d.service",
            "t@.service",
            "t@x.service",
            "t@y.service",
            "alias.service",
            "a.socket",
        ]),
        weighted(0.7, yes()),
        weighted(0.3, yes()),
        weighted(0.5, one_of(TEXTS)),
        vec(dropin, 0..3),
    )
        .prop_map(|(name, enabled, mask, contents, dropins)| {
            object(vec![
                ("name", Some(name)),
                ("enabled", enabled),
                ("mask", mask),
                ("contents", contents),
                ("dropins", Some(by_name(dropins).into())),
            ])
        })
}
