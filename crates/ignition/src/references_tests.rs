//! References against a fetcher that answers from a table and writes down what it was asked.

use serde_json::{Value, json};

use super::*;
use crate::butane::NoLocalFiles;
use crate::compile::{Compiled, Part, PartKind, compile};

/// A certificate as far as it matters here: PEM of a DER sequence.
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

#[derive(Default)]
struct Table {
    answers: BTreeMap<String, Vec<u8>>,
    asked: Vec<Asked>,
}

struct Asked {
    url: String,
    headers: Vec<(String, String)>,
    fetching: Fetching,
}

impl Fetch for Table {
    fn fetch(&mut self, request: &Request<'_>) -> Result<Vec<u8>, String> {
        self.asked.push(Asked {
            url: request.url.to_owned(),
            headers: request.headers.to_vec(),
            fetching: request.fetching.clone(),
        });
        let answer = self.answers.get(request.url).cloned();
        answer.ok_or_else(|| "it answers 404".to_owned())
    }
}

impl Table {
    fn with(answers: &[(&str, &[u8])]) -> Self {
        let owned = |(url, bytes): &(&str, &[u8])| (url.to_string(), bytes.to_vec());
        Self {
            answers: answers.iter().map(owned).collect(),
            asked: Vec::new(),
        }
    }

    fn urls(&self) -> Vec<&str> {
        self.asked.iter().map(|asked| asked.url.as_str()).collect()
    }

    fn compile(&mut self, config: &Value) -> Result<Compiled, String> {
        let part = Part {
            name: "base.ign".to_owned(),
            kind: PartKind::Ignition,
            text: config.to_string(),
        };
        compile(&[part], &NoLocalFiles, self).map_err(|report| report.to_string())
    }
}

/// A config that makes one group and refers to others.
fn config(group: &str, ignition: Value) -> Value {
    let mut config = json!({
        "ignition": {"version": "3.6.0"},
        "passwd": {"groups": [{"name": group}]},
    });
    for (key, value) in ignition.as_object().into_iter().flatten() {
        config["ignition"][key] = value.clone();
    }
    config
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn merging(sources: &[&str]) -> Value {
    let sources: Vec<Value> = sources.iter().map(|url| json!({ "source": url })).collect();
    json!({"config": {"merge": sources}})
}

fn groups(compiled: &Compiled) -> Vec<&str> {
    let groups = compiled.config.passwd.groups.iter();
    groups.map(|group| group.name.as_str()).collect()
}

#[test]
fn configs_are_merged_depth_first_and_in_order() {
    let mut table = Table::with(&[
        (
            "http://a",
            &text(&config("a", merging(&["http://a/1", "http://a/2"]))),
        ),
        ("http://a/1", &text(&config("a1", json!({})))),
        ("http://a/2", &text(&config("a2", json!({})))),
        ("http://b", &text(&config("b", json!({})))),
    ]);
    let compiled = table
        .compile(&config("base", merging(&["http://a", "http://b"])))
        .expect("valid");
    assert_eq!(groups(&compiled), ["base", "a", "a1", "a2", "b"]);
    assert_eq!(
        table.urls(),
        ["http://a", "http://a/1", "http://a/2", "http://b"]
    );
    assert_eq!(compiled.config.ignition.config, References::default());
    assert!(!compiled.json.contains("http://"), "{}", compiled.json);
    let fetched: Vec<_> = compiled
        .fetched
        .iter()
        .map(|one| one.url.as_str())
        .collect();
    assert_eq!(fetched, table.urls());
    assert_eq!(
        compiled.fetched[3].sha256,
        hex(&Sha256::digest(text(&config("b", json!({})))))
    );
}

#[test]
fn a_replacement_takes_the_place_of_the_whole_config() {
    let mut table = Table::with(&[
        ("http://a", &text(&config("a", merging(&["http://b"])))),
        ("http://b", &text(&config("b", json!({})))),
    ]);
    let mut references = merging(&["http://never"]);
    references["config"]["replace"] = json!({"source": "http://a"});
    let compiled = table.compile(&config("base", references)).expect("valid");
    assert_eq!(groups(&compiled), ["a", "b"]);
    assert_eq!(table.urls(), ["http://a", "http://b"]);
}

#[test]
fn the_version_that_is_said_is_the_newest_of_all() {
    let mut child = config("a", json!({}));
    child["ignition"]["version"] = "3.4.0".into();
    let mut table = Table::with(&[("http://a", &text(&child))]);
    let mut base = config("base", merging(&["http://a"]));
    base["ignition"]["version"] = "3.1.0".into();
    let json = table.compile(&base).expect("valid").json;
    assert!(json.contains(r#""version":"3.4.0""#), "{json}");
}

#[test]
fn data_urls_need_no_fetcher() {
    let child = data_url::encode(&text(&config("a", json!({}))));
    let base = config("base", merging(&[&child]));
    let part = Part {
        name: "base.ign".to_owned(),
        kind: PartKind::Ignition,
        text: base.to_string(),
    };
    let compiled =
        compile(std::slice::from_ref(&part), &NoLocalFiles, &mut NoFetch).expect("valid");
    assert_eq!(groups(&compiled), ["base", "a"]);
    assert_eq!(compiled.fetched, []);
    let text = base.to_string().replace(&child, "http://a");
    let refused = compile(&[Part { text, ..part }], &NoLocalFiles, &mut NoFetch);
    assert_eq!(
        refused.expect_err("refused").to_string(),
        "base.ign: error: reading http://a: nothing is fetched here: only `data:` URLs are read \
         at $.ignition.config.merge.0"
    );
}

#[test]
fn headers_go_with_the_request_they_belong_to() {
    let mut table = Table::with(&[
        ("http://a", &text(&config("a", merging(&["http://b"])))),
        ("http://b", &text(&config("b", json!({})))),
    ]);
    let headers = json!([{"name": "X-Auth", "value": "secret"}, {"name": "X-None"}]);
    let merge = json!([{"source": "http://a", "httpHeaders": headers}]);
    table
        .compile(&config("base", json!({"config": {"merge": merge}})))
        .expect("valid");
    let headers: Vec<_> = table.asked.iter().map(|asked| &asked.headers).collect();
    let expected = vec![("X-Auth".to_owned(), "secret".to_owned())];
    assert_eq!(headers, [&expected, &Vec::new()]);
}

#[test]
fn packed_configs_are_unpacked_before_they_are_verified() {
    use std::io::Write as _;
    let plain = text(&config("a", json!({})));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&plain).expect("packed");
    let packed = packer.finish().expect("packed");
    let mut table = Table::with(&[("http://a", &packed)]);
    let mut check = |compression: &str, hash: String| {
        let resource = json!({
            "source": "http://a", "compression": compression, "verification": {"hash": hash},
        });
        table.compile(&config("base", json!({"config": {"merge": [resource]}})))
    };
    let sha512 = |bytes: &[u8]| format!("sha512-{}", hex(&Sha512::digest(bytes)));
    let sha256 = format!("sha256-{}", hex(&Sha256::digest(&plain)).to_uppercase());
    for hash in [sha512(&plain), sha256] {
        assert_eq!(groups(&check("gzip", hash).expect("valid")), ["base", "a"]);
    }
    let wrong = check("gzip", sha512(&packed)).expect_err("refused");
    assert!(
        wrong.contains("reading http://a: it has the sha512"),
        "{wrong}"
    );
    let unpacked = check("", sha512(&packed)).expect_err("refused");
    assert!(unpacked.starts_with("http://a"), "{unpacked}");
}

#[test]
fn settings_are_in_force_as_soon_as_they_are_read() {
    let proxy = |host: &str| json!({"httpProxy": format!("http://{host}")});
    let slow = json!({"httpResponseHeaders": 30, "httpTotal": 60});
    let mut second = merging(&["http://a/1"]);
    second["proxy"] = proxy("second");
    let mut table = Table::with(&[
        ("http://a", &text(&config("a", second))),
        (
            "http://a/1",
            &text(&config("a1", json!({"timeouts": slow}))),
        ),
        ("http://b", &text(&config("b", json!({})))),
    ]);
    let mut base = merging(&["http://a", "http://b"]);
    base["proxy"] = proxy("first");
    base["timeouts"] = json!({"httpTotal": 5});
    table.compile(&config("base", base)).expect("valid");
    let seen: Vec<_> = table
        .asked
        .iter()
        .map(|Asked { fetching, .. }| {
            let proxy = fetching.http_proxy.as_deref().unwrap_or_default();
            (proxy, fetching.response_headers, fetching.total)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("http://first", 10, 5),
            // Merged with the config that names it.
            ("http://second", 10, 5),
            // Of the child's own settings alone, with what its own child brought.
            ("http://second", 30, 60),
        ]
    );
}

#[test]
fn authorities_are_fetched_once_and_kept_in_the_config() {
    let named = json!({"tls": {"certificateAuthorities": [{
        "source": "https://ca", "httpHeaders": [{"name": "X", "value": "y"}],
    }]}});
    let mut base = merging(&["https://a"]);
    base["security"] = named.clone();
    let mut table = Table::with(&[
        ("https://ca", PEM.as_bytes()),
        ("https://a", &text(&config("a", json!({})))),
    ]);
    let compiled = table.compile(&config("base", base)).expect("valid");
    assert_eq!(table.urls(), ["https://ca", "https://a"]);
    let in_force = |index: usize| &table.asked[index].fetching.authorities;
    assert_eq!(
        (in_force(0).len(), in_force(1).as_slice()),
        (0, &[PEM.to_owned()][..])
    );
    assert_eq!(compiled.authorities, [PEM]);
    let kept = &compiled
        .config
        .ignition
        .security
        .tls
        .certificate_authorities[0];
    let source = kept.source.as_deref().expect("a source");
    assert_eq!(data_url::decode(source).as_deref(), Ok(PEM.as_bytes()));
    assert_eq!(kept.http_headers, []);
    // Those of a config that does not remain are forgotten with it.
    let mut base = json!({"config": {"replace": {"source": "https://a"}}});
    base["security"] = named;
    let compiled = table.compile(&config("base", base)).expect("valid");
    assert_eq!(table.asked[3].fetching.authorities, [PEM]);
    assert_eq!(compiled.authorities, Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut invalid = config("a", json!({}));
    invalid["storage"] = json!({"files": [{"path": "relative"}]});
    let mut table = Table::with(&[
        (
            "http://loop",
            &text(&config("a", merging(&["http://loop"]))),
        ),
        ("http://old", br#"{"ignition": {"version": "2.2.0"}}"#),
        ("http://invalid", &text(&invalid)),
        ("http://empty", b" \n"),
        ("http://pem", b"-----BEGIN CERTIFICATE-----\n-----END"),
    ]);
    let authority =
        |url: &str| json!({"security": {"tls": {"certificateAuthorities": [{"source": url}]}}});
    let at = "at $.ignition.config.merge.0";
    for (references, expected) in [
        (
            merging(&["http://gone"]),
            format!("base.ign: error: reading http://gone: it answers 404 {at}"),
        ),
        (
            merging(&["http://loop"]),
            format!(
                "http://loop: error: configs name each other without an end, at last http://loop: \
                 at most 16 deep and 256 in all are read {at}"
            ),
        ),
        (
            merging(&["http://old"]),
            "http://old:1:26: error: version 2.2.0 is not supported: 3.0.0 to 3.6.0 are at \
             $.ignition.version"
                .to_owned(),
        ),
        (
            merging(&["http://empty"]),
            "http://empty: error: the config is empty at $".to_owned(),
        ),
        (
            json!({"config": {"replace": {"source": ""}}}),
            "base.ign: error: reading an empty source: not a URL at $.ignition.config.replace"
                .to_owned(),
        ),
        (
            authority("http://pem"),
            "base.ign: error: reading the certificate authority http://pem: it is no PEM \
             certificate at $.ignition.security.tls.certificateAuthorities.0"
                .to_owned(),
        ),
    ] {
        let refused = table.compile(&config("base", references)).err();
        assert_eq!(refused.as_deref(), Some(expected.as_str()));
    }
    let refused = table.compile(&config("base", merging(&["http://invalid"])));
    let refused = refused.expect_err("refused");
    assert!(refused.starts_with("http://invalid:1:"), "{refused}");
    for (source, cause) in [
        ("s3://bucket/key", "s3 sources are not fetched"),
        ("gs://bucket/key", "gs sources are not fetched"),
        ("arn:aws:s3:::bucket/key", "arn sources are not fetched"),
    ] {
        let refused = table.compile(&config("base", merging(&[source])));
        let refused = refused.expect_err("refused");
        assert!(refused.contains(cause), "{refused}");
    }
}

#[test]
fn what_they_make_together_is_judged() {
    // Each is valid; together a file lies under a link.
    let mut child = config("a", json!({}));
    child["storage"] = json!({"links": [{"path": "/a", "target": "/b"}]});
    let mut table = Table::with(&[("http://a", &text(&child))]);
    let mut base = config("base", merging(&["http://a"]));
    base["storage"] = json!({"files": [{"path": "/a/b"}]});
    assert!(table.compile(&base).is_err());
}

#[test]
fn passwords_in_urls_are_not_repeated() {
    let url = "http://me:s3cret@a/b@c";
    let child = json!({"ignition": {"version": "3.6.0"}}).to_string();
    let refers = config("g", json!({"config": {"merge": [{"source": url}]}}));
    let refused = Table::default().compile(&refers).unwrap_err();
    assert!(refused.contains("reading http://a/b@c: "), "{refused}");
    let mut table = Table::with(&[(url, child.as_bytes())]);
    let compiled = table.compile(&refers).unwrap();
    assert_eq!(compiled.fetched[0].url, "http://a/b@c");
    assert_eq!(table.urls(), [url]);
}
