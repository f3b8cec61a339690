//! A small appliance for tests: a cluster file, its parts, an image, a journal, no sockets.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hardway_model::identity::MacAddress;
use hardway_model::inventory::{Content, Disk, Firmware, Inventory, Nic, Processor, System};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::context::{Context, Options};
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::seal::Sealer;
use crate::serve::boot_files::BootFiles;
use crate::{api, configuration};

pub const TOKEN: &str = "operators-token";
pub const MAC: &str = "52:54:00:00:00:01";

pub const CLUSTER: &str = r#"version: 1
cluster: {name: lab, domain: lab.internal}
network:
  address: 10.77.0.1/24
  dhcp: {mode: server, pool: 10.77.0.100-10.77.0.199}
images:
  node:
    file: node.img.zst
    sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
profiles:
  etcd:
    image: node
    disk: {min_size: 1GiB}
    wipe: never
    config: [base.bu]
machines:
  - name: node1
    match: {mac: "52:54:00:00:00:01"}
    profile: etcd
    address: 10.77.0.11
checks:
  - {name: etcd, profile: etcd, http: "http://{{ machine.address }}:1/health"}
"#;

const PART: &str = "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      \
                    contents: {inline: \"{{ machine.name }}\"}\n";

/// The appliance, and the folder that it lives in.
pub struct Appliance {
    pub context: Context,
    pub folder: TempDir,
}

impl Appliance {
    /// With the cluster file of this module.
    pub async fn start() -> Self {
        Self::with(CLUSTER).await
    }

    /// With a cluster file of the test's own.
    pub async fn with(cluster: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("cluster.yaml"), cluster).unwrap();
        std::fs::write(at("base.bu"), PART).unwrap();
        std::fs::create_dir_all(at("images")).unwrap();
        std::fs::write(at("images/node.img.zst"), b"").unwrap();
        std::fs::create_dir_all(at("payload/boot")).unwrap();
        std::fs::write(at("payload/boot/vmlinuz"), b"a kernel").unwrap();
        let fleet = Fleet::start(
            Journal::open(&at("journal.redb")).unwrap(),
            &at("leases.log"),
        )
        .unwrap();
        configuration::load_into(&fleet, &at("cluster.yaml"))
            .await
            .unwrap();
        let context = Context {
            fleet,
            options: Arc::new(Options {
                config: at("cluster.yaml"),
                state: at(""),
                payload: at("payload"),
                images: at("images"),
                toolbox: None,
                interface: None,
                http_port: 80,
                admin_token: None,
                only: Vec::new(),
            }),
            admin_token: TOKEN.into(),
            sealer: Arc::new(Sealer::load(folder.path()).unwrap()),
            started: Instant::now(),
            checks: Arc::default(),
            documents: Arc::default(),
            config_gate: Arc::default(),
            ending: None,
            images: Arc::default(),
            notices: Arc::default(),
            metrics: Arc::default(),
            recorder: Arc::default(),
            boot_files: Arc::new(BootFiles::of(at("payload/boot"))),
        };
        Self { context, folder }
    }

    /// `GET`, without a token.
    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        self.ask(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// `POST`, with a token where one is given.
    pub async fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: &impl serde::Serialize,
    ) -> (StatusCode, String) {
        let mut request = Request::post(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = serde_json::to_vec(body).unwrap();
        self.ask(request.body(Body::from(body)).unwrap()).await
    }

    /// Any request.
    pub async fn ask(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = api::router(self.context.clone())
            .oneshot(request)
            .await
            .unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A machine with one disk.
pub fn inventory(mac: &str, content: Content) -> Inventory {
    Inventory {
        firmware: Firmware::Bios,
        system: System {
            manufacturer: Some("<b>Maker</b>".into()),
            ..System::default()
        },
        memory: 512 << 20,
        processor: Processor::default(),
        nics: vec![Nic {
            name: "eth0".into(),
            mac: mac.parse::<MacAddress>().unwrap(),
            driver: None,
            carrier: true,
            speed: None,
        }],
        disks: vec![Disk {
            path: "/dev/vda".into(),
            size: 4 << 30,
            sector_size: 512,
            model: None,
            serial: Some("disk-1".into()),
            wwn: None,
            rotational: false,
            removable: false,
            read_only: false,
            transport: Some("virtio".into()),
            content,
            aliases: Vec::new(),
            layout: None,
        }],
        driverless: Vec::new(),
        tpm2: None,
        boot_variables: None,
    }
}
