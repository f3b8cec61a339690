//! What starts the agent: the scripts of iPXE, and the unified kernel image of a machine.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hardway_model::boot::LOCAL_DISK;
use hardway_model::identity::{Identity, MacAddress};
use hardway_model::lifecycle::Event;
use hardway_netboot::answer::{Answer, Architecture, Client, Program, Script, answer};
use hardway_netboot::http::Method;
use hardway_netboot::ipxe::{self, ScriptRequest};
use hardway_netboot::unified_kernel::{Ingredients, Part, agent_command_line, compose};

use super::ApiError;
use super::files::Asked;
use crate::context::Context;
use crate::fleet::Snapshot;
use crate::serve::content::{Content, Piece};
use crate::{clock, token};

/// Stands where a token would, and is none: what is asked before the image itself is fetched.
const NO_TOKEN: &str = "00000000000000000000000000000000";

/// `GET /boot.ipxe`: the same for every machine, even while nobody is served.
pub async fn first_script(State(context): State<Context>) -> Result<impl IntoResponse, ApiError> {
    let url = context.url().ok_or_else(ApiError::no_cluster)?;
    Ok(plain(ipxe::boot_script(&url)))
}

/// `GET /ipxe?…`: what this machine is to do.
pub async fn machine_script(
    State(context): State<Context>,
    Query(request): Query<ScriptRequest>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
) -> Result<impl IntoResponse, ApiError> {
    let refuse =
        |error: ipxe::ScriptError| ApiError::new(StatusCode::BAD_REQUEST, error.to_string());
    let client = request.client().map_err(refuse)?;
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().ok_or_else(ApiError::no_cluster)?;
    let url = ipxe::appliance_url(cluster, context.options.http_port);
    let found = snapshot.find(&client.identity);
    let (script, summary, token) = match answer(&client, cluster, found) {
        Answer::Script(Script::Agent) => {
            if let Some(Extension(ConnectInfo(peer))) = peer {
                check_address(&context, &client.identity, peer.ip())?;
            }
            let token = token::random()?;
            let more = cluster.agent_arguments(found.map(|(machine, _)| machine));
            let script = ipxe::agent_script(&url, &token, &more).map_err(refuse)?;
            (script, "iPXE was given the agent", Some(token))
        }
        Answer::Script(Script::LocalDisk(firmware)) => (
            ipxe::local_disk_script(&url, firmware),
            "iPXE was sent to the disk",
            None,
        ),
        Answer::Script(Script::Menu) => (ipxe::menu_script(&url), "iPXE was given the menu", None),
        Answer::Silence(reason) | Answer::AddressOnly(reason) => {
            return Err(ApiError::new(StatusCode::NOT_FOUND, reason.to_string()));
        }
        other => {
            let message = format!("no script answers this request: {other:?}");
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
    };
    // The request parsed, so it names a hardware address, and with it a name.
    let name = snapshot
        .name_of(&client.identity)
        .ok_or_else(ApiError::no_cluster)?;
    let summary = summary.to_owned();
    context
        .fleet
        .record(&name, Event::Script { summary, token })
        .await?;
    Ok(plain(script))
}

/// `GET /uki/MAC/agent.efi`: the agent as one EFI program for the machine with this NIC, and the name of
/// that machine. A boot token is issued when the image is fetched from its beginning.
pub async fn unified_kernel(
    context: &Context,
    mac: MacAddress,
    asked: Asked<'_>,
) -> Result<(String, Content), ApiError> {
    let snapshot = context.fleet.snapshot();
    let cluster = snapshot.cluster.as_ref().ok_or_else(ApiError::no_cluster)?;
    let client = Client {
        identity: Identity {
            macs: vec![mac],
            ..Identity::default()
        },
        program: Program::HttpBoot(Architecture::UEFI_X64_HTTP),
    };
    let refuse = |why: String| Err(ApiError::new(StatusCode::NOT_FOUND, why));
    let found = snapshot.find(&client.identity);
    match answer(&client, cluster, found) {
        Answer::HttpBootFile(file) if file == LOCAL_DISK => {
            return refuse("this machine is to start its disk".to_owned());
        }
        // Whichever file would be offered now: this one was, before.
        Answer::HttpBootFile(_) => {}
        Answer::Silence(reason) | Answer::AddressOnly(reason) => return refuse(reason.to_string()),
        other => return refuse(format!("the agent does not answer this request: {other:?}")),
    }
    check_address(context, &client.identity, asked.peer)?;
    let name = snapshot.name_of(&client.identity);
    let name = name.ok_or_else(ApiError::no_cluster)?;
    let token = match asked.method == Method::Get && !asked.goes_on {
        true => issue(context, &name).await?,
        false => live_token(&snapshot, &name),
    };
    let url = ipxe::appliance_url(cluster, context.options.http_port);
    let more = cluster.agent_arguments(found.map(|(machine, _)| machine));
    let command_line = agent_command_line(&url, &token, mac, &more).map_err(anyhow::Error::from)?;
    Ok((name, image(context, &command_line)?))
}

async fn issue(context: &Context, name: &str) -> Result<String, ApiError> {
    let issued = token::random()?;
    let summary = "UEFI was given the agent".to_owned();
    let token = Some(issued.clone());
    context
        .fleet
        .record(name, Event::Script { summary, token })
        .await?;
    Ok(issued)
}

/// The token of the image that a download goes on with.
fn live_token(snapshot: &Snapshot, name: &str) -> String {
    let token = snapshot
        .machines
        .get(name)
        .and_then(|state| state.token.as_ref());
    token.map_or(NO_TOKEN.to_owned(), |live| live.token.clone())
}

/// The payload's files and a head of the machine's own, as one.
fn image(context: &Context, command_line: &str) -> Result<Content, ApiError> {
    let stored = |name: &str| context.boot_files.stored(name).map_err(anyhow::Error::from);
    let (stub, linux) = (stored("linuxx64.efi.stub")?, stored("vmlinuz")?);
    let initrd = stored("agent.initramfs")?;
    let mut bytes = vec![0; usize::try_from(stub.size()).map_err(anyhow::Error::from)?];
    stub.read_exact_at(&mut bytes, 0)
        .map_err(anyhow::Error::from)?;
    let parts = compose(Ingredients {
        stub: &bytes,
        command_line,
        linux: linux.size(),
        initrd: initrd.size(),
    });
    let stub = Bytes::from(bytes);
    let pieces = parts
        .map_err(anyhow::Error::from)?
        .into_iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => vec![Piece::Bytes(bytes.into())],
            Part::StubFrom(start) => vec![Piece::Bytes(stub.slice(start..))],
            Part::Linux => linux.pieces().to_vec(),
            Part::Initrd => initrd.pieces().to_vec(),
        });
    Ok(Content::of(pieces.collect()))
}

/// A token is for the machine alone that it is issued to. Where this appliance leased the machine an
/// address, or leased the asking address to another machine, the two have to fit; behind somebody
/// else's DHCP server there is nothing to compare.
pub fn check_address(context: &Context, identity: &Identity, peer: IpAddr) -> Result<(), ApiError> {
    let now = clock::now();
    let table = context.fleet.lease_log().table();
    let mut live = table.values().filter(|lease| lease.expires > now);
    let is_own = |mac: Option<MacAddress>| mac.is_some_and(|mac| identity.macs.contains(&mac));
    let mut own = None;
    let other = live.find_map(|lease| {
        let is_peer = IpAddr::V4(lease.address) == peer;
        match (is_own(lease.mac), is_peer) {
            (true, true) => Some(None),
            (true, false) => {
                own = Some(lease.address);
                None
            }
            (false, true) => lease.mac.map(Some),
            (false, false) => None,
        }
    });
    let why = match (other, own) {
        (Some(None), _) | (None, None) => return Ok(()),
        (Some(Some(mac)), _) => format!("{peer} is leased to {mac}"),
        (None, Some(address)) => format!("that machine was leased {address}, and {peer} asks"),
    };
    drop(table);
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        format!("a boot token is for the machine alone that boots: {why}"),
    ))
}

fn plain(script: String) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        script,
    )
}
