//! A proven cluster: what it says, whom it recognises, what its templates see.
#![cfg(feature = "cluster")]

use std::net::Ipv4Addr;

use hardway_model::cluster::{self, Cluster, DhcpMode, Interface, TemplateError, template};
use hardway_model::identity::{Identity, Sha256};

const FULL: &str = include_str!("../../../configs/examples/full.yaml");
const MINIMAL: &str = include_str!("../../../configs/examples/minimal.yaml");
const ANCHORS: &str = include_str!("../../../configs/examples/anchors.yaml");

#[track_caller]
fn parse(text: &str) -> Cluster {
    match cluster::parse(text, "cluster.yaml") {
        Ok(cluster) => cluster,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

#[test]
fn every_key_is_read() {
    insta::assert_debug_snapshot!(parse(FULL));
}

#[test]
fn every_default_is_as_documented() {
    let written_out = MINIMAL
        .replace("name: home", "name: home\n  domain: home.internal")
        .replace(
            "network:",
            "network:\n  interface: auto\n  dhcp: {mode: auto, lease: 1h}\n  ntp: appliance\n  dns: {upstream: []}",
        )
        .replace(
            "image: debian",
            "image: debian\n    disk: {}\n    wipe: never\n    after_install: kexec\n    kernel_arguments: []\n    config: []\n    vars: {}",
        )
        .replace("sha256:", "config: agent\n    sha256:")
        + "\nunknown: discover\nchecks: []\n";
    assert_ne!(written_out, MINIMAL);
    assert_eq!(parse(MINIMAL), parse(&written_out));
    assert_eq!(parse(MINIMAL).network.interface, Interface::Auto);
}

#[test]
fn words_stay_words() {
    // YAML 1.1 took `off`, `no`, `yes` for booleans and 52:54:… for a number of base sixty.
    let text = MINIMAL
        .replace("network:", "network:\n  dhcp: {mode: off}")
        .replace("name: box", "name: no")
        .replace("\"52:54:00:12:34:56\"", "52:54:00:12:34:56");
    let cluster = parse(&text);
    assert_eq!(cluster.network.dhcp, DhcpMode::Off);
    assert_eq!(cluster.machines[0].name, "no");
    assert_eq!(cluster.machines[0].matches.macs.len(), 1);
}

#[test]
fn anchors_and_merges() {
    let cluster = parse(ANCHORS);
    let big = cluster.profile("big-worker").unwrap();
    assert_eq!(big.image, "base");
    assert_eq!(big.disk.min_size, Some(1 << 40));
    assert_eq!(big.kernel_arguments, ["console=ttyS0"]);
}

#[test]
fn machines_are_recognised_by_the_best_evidence_alone() {
    let cluster = parse(FULL);
    let known = |macs: &[&str], serial: &str, uuid: &str| {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let identity = Identity {
            macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
            serial: text(serial),
            uuid: text(uuid),
            disks: Vec::new(),
        };
        cluster
            .identify(&identity)
            .map(|machine| machine.name.clone())
    };
    let name = |name: &str| Some(name.to_owned());
    let store = "4c4c4544-0042-3510-8052-b4c04f4a4231";
    assert_eq!(known(&["52:54:00:00:00:01"], "", ""), name("node1"));
    assert_eq!(known(&["52:54:00:00:01:02"], "", ""), name("node2"));
    assert_eq!(known(&["52:54:00:aa:aa:aa"], "SN-0002", ""), name("node2"));
    assert_eq!(known(&[], "", &store.to_uppercase()), name("store"));
    // A MAC decides before a UUID that firmware may have given to a whole series.
    assert_eq!(known(&["52:54:00:00:00:01"], "", store), name("node1"));
    // NICs of two machines in one: neither.
    assert_eq!(
        known(&["52:54:00:00:00:01", "52:54:00:00:00:02"], "", ""),
        None
    );
    assert_eq!(known(&["52:54:00:aa:aa:aa"], "SN", ""), None);
    assert_eq!(known(&[], "", "00000000-0000-0000-0000-000000000000"), None);
    assert_eq!(known(&[], "", ""), None);
}

#[test]
fn an_ambiguous_uuid_names_nobody() {
    let mut cluster = parse(FULL);
    let uuid = cluster.machines[2].matches.uuid.clone();
    cluster.machines[0].matches.uuid = uuid.clone();
    let identity = Identity {
        uuid,
        ..Identity::default()
    };
    assert_eq!(cluster.identify(&identity), None);
}

#[test]
fn what_a_machine_is_to_become() {
    let cluster = parse(FULL);
    let desired = |name: &str| {
        let machine = cluster.machine(name).unwrap();
        cluster.desired(machine, Sha256([7; 32])).unwrap()
    };
    assert_eq!(desired("node1").image.url, "/images/node.img.zst");
    assert_eq!(
        desired("store").image.url,
        "http://10.77.0.5/storage.raw.xz"
    );
    insta::assert_json_snapshot!(desired("node1"));
}

#[test]
fn arithmetic_of_the_network() {
    let text = |prefix: &str| {
        MINIMAL
            .replace("192.168.77.1/24", prefix)
            .replace("address: 192.168.77.10", "")
    };
    for (address, netmask, network, broadcast) in [
        ("10.77.0.1/24", "255.255.255.0", "10.77.0.0", "10.77.0.255"),
        ("10.77.5.9/8", "255.0.0.0", "10.0.0.0", "10.255.255.255"),
        ("10.77.5.9/30", "255.255.255.252", "10.77.5.8", "10.77.5.11"),
        ("192.0.2.1/1", "128.0.0.0", "128.0.0.0", "255.255.255.255"),
    ] {
        let cluster = parse(&text(address));
        let own = &cluster.network;
        let parse = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(own.netmask(), parse(netmask), "{address}");
        assert_eq!(own.network_address(), parse(network), "{address}");
        assert_eq!(own.broadcast(), parse(broadcast), "{address}");
        assert!(own.contains(own.address) && own.contains(own.broadcast()));
        assert!(!own.contains(parse("9.9.9.9")));
    }
}

#[test]
fn an_address_belongs_to_one_network() {
    let cluster = parse(FULL);
    let of = |address: &str| {
        let network = cluster.network.network_of(address.parse().unwrap());
        network.map(|network| network.to_string())
    };
    assert_eq!(of("10.77.0.11").as_deref(), Some("10.77.0.0/24"));
    assert_eq!(of("10.78.0.255").as_deref(), Some("10.78.0.0/24"));
    assert_eq!(of("10.79.0.1"), None);
    let behind = cluster.network.networks().nth(1).unwrap();
    let has = |address: &str| behind.has_host(address.parse().unwrap());
    assert_eq!(
        ["10.78.0.0", "10.78.0.1", "10.78.0.255"].map(has),
        [false, true, false]
    );
    assert!(behind.pool_contains("10.78.0.100".parse().unwrap()));
}

#[test]
fn a_template_sees_the_machines_own_network() {
    let cluster = parse(FULL);
    let machine = cluster.machine("store").unwrap();
    let source = "{{ machine.address }}/{{ network.prefix }} via {{ network.gateway }}, dns {{ network.dns[0] }}";
    let rendered = template::render(source, "base.bu", &cluster, machine).unwrap();
    assert_eq!(rendered, "10.78.0.13/24 via 10.78.0.1, dns 10.77.0.1");
}

#[test]
fn a_template_sees_the_machines_links() {
    let cluster = parse(FULL);
    let render = |name: &str, source: &str| {
        let machine = cluster.machine(name).unwrap();
        template::render(source, "base.bu", &cluster, machine)
    };
    let source = "\
{% for name, link in machine.links | items %}{{ name }} {{ link.mac }} {{ link.mtu }}
{% endfor %}{{ machine.addresses.nas }} = {{ machine.links.nas.address }}/{{ machine.links.nas.prefix }}
{{ machine.links.br0.address }} {{ peers[0].addresses.nas }}
";
    insta::assert_snapshot!(render("store", source).unwrap());
    assert_eq!(render("node1", "{{ machine.links }}").unwrap(), "{}");
    let error = render("store", "{{ machine.links.bond0.address }}").unwrap_err();
    assert!(error.message.contains("is not defined"), "{error}");
}

fn render(source: &str) -> Result<String, TemplateError> {
    let cluster = parse(FULL);
    let machine = cluster.machine("node1").unwrap();
    template::render(source, "roles/etcd.bu", &cluster, machine)
}

#[test]
fn what_templates_see() {
    let source = "\
{{ cluster.name }} {{ cluster.domain }}
{{ network.address }}/{{ network.prefix }} {{ network.netmask }} via {{ network.gateway }}
ntp {{ network.ntp | join(\",\") }} dns {{ network.dns | join(\",\") }}
{{ machine.name }} {{ machine.fqdn }} {{ machine.address }} {{ machine.profile }} {{ machine.macs[0] }}
{% for peer in peers %}{{ peer.name }}=http://{{ peer.address }}:2380{% if not loop.last %},{% endif %}{% endfor %}
{{ vars.etcd_version }} {{ vars.members + 1 }} {{ vars.rack }} {{ vars | tojson }}
{% if vars.absent is defined %}there{% else %}absent{% endif %} {{ vars.absent | default(\"none\") }}
<not escaped> {{ \"<&>\" }}
";
    let expected = "\
lab lab.internal
10.77.0.1/24 255.255.255.0 via 10.77.0.254
ntp 10.77.0.1 dns 10.77.0.1
node1 node1.lab.internal 10.77.0.11 etcd 52:54:00:00:00:01
node1=http://10.77.0.11:2380,node2=http://10.77.0.12:2380
3.5 4 a {\"etcd_version\": \"3.5\", \"members\": 3, \"rack\": \"a\"}
absent none
<not escaped> <&>
";
    assert_eq!(render(source).unwrap(), expected);
}

#[test]
fn template_errors_show_their_line() {
    let check = |source: &str, expected: &str| {
        assert_eq!(render(source).unwrap_err().to_string(), expected);
    };
    check(
        "variant: fcos\n  name: {{ machine.nmae }}\n",
        "`machine.nmae` is not defined\n ┌─ roles/etcd.bu:2\n2│   name: {{ machine.nmae }}",
    );
    check(
        "{{ pki.ca }}",
        "`pki.ca` is not defined\n ┌─ roles/etcd.bu:1\n1│ {{ pki.ca }}",
    );
    check(
        "a\n{% for peer in peers %}\n{{ peer.name }}\n",
        "syntax error: unexpected end of input, expected end of block\n ┌─ roles/etcd.bu:3\n3│ {{ peer.name }}",
    );
    check(
        "{{ vars.etcd_version | uper }}",
        "unknown filter: filter uper is unknown\n ┌─ roles/etcd.bu:1\n1│ {{ vars.etcd_version | uper }}",
    );
    check(
        "{% include \"/etc/passwd\" %}",
        "template not found: tried to include non-existing template '/etc/passwd'\n ┌─ roles/etcd.bu:1\n1│ {% include \"/etc/passwd\" %}",
    );
}

#[test]
fn the_schema_knows_every_key_of_the_full_example() {
    let schema = cluster::json_schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut keys = vec![("Cluster", schema["properties"].as_object().unwrap())];
    for (name, definition) in definitions {
        if let Some(properties) = definition["properties"].as_object() {
            keys.push((name.as_str(), properties));
        }
    }
    for (mapping, properties) in keys {
        for (key, property) in properties {
            assert!(
                property["description"].is_string(),
                "{mapping}.{key} says nothing"
            );
            assert!(
                FULL.contains(key.as_str()),
                "{mapping}.{key} is not in full.yaml"
            );
        }
    }
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(schema) });
}
