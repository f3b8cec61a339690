//! `hardway serve`: every loop as a supervised task.
//!
//! A loop that ends in an error is named in the log and started again after a pause; the others go
//! on. While cluster.yaml is broken the loops run and answer nobody.

use std::future::Future;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::context::{Context, Options, UNDER_INIT};
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::{checks, configuration, doctor, images, token};

pub mod boot_files;
mod capture;
pub mod content;
mod datagrams;
mod dhcp;
mod dns;
mod grub_scripts;
pub mod http;
mod ntp;
mod packet_socket;
mod router_advertisement;
mod socket;
mod tftp;
mod thread;

use boot_files::BootFiles;

/// The pause after a service's first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. A service that ran for longer than this starts over with the first.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The services that open ports, by the names that `--only` takes.
const PORT_SERVICES: [&str; 6] = ["http", "dhcp", "tftp", "dns", "ntp", "router-advertisement"];

/// Runs every service until SIGTERM or SIGINT.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    start_logging();
    if let Err(error) = allow_many_files() {
        tracing::warn!("raising the limit of open files: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<ExitCode> {
    let state = &options.state;
    std::fs::create_dir_all(state)
        .with_context(|| format!("making the state folder {}", state.display()))?;
    let admin_token = token::load(&options)?;
    let sealer = Sealer::load(state)?;
    let journal = Journal::open(&state.join("journal.redb"))?;
    let fleet = Fleet::start(journal, &state.join("leases.log"))?;
    let (ending, mut endings) = mpsc::channel(1);
    let under_init = std::env::var_os(UNDER_INIT).is_some();
    let context = Context {
        ending: under_init.then(|| ending.clone()),
        metrics: Arc::new(Metrics {
            events_dropped: fleet.dropped(),
            ..Metrics::default()
        }),
        notices: Arc::default(),
        recorder: Arc::default(),
        fleet,
        admin_token: admin_token.into(),
        sealer: Arc::new(sealer),
        started: Instant::now(),
        checks: Arc::default(),
        documents: Arc::default(),
        config_gate: Arc::default(),
        images: Arc::default(),
        boot_files: Arc::new(BootFiles::of(options.payload.join("boot"))),
        options: Arc::new(options),
    };
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    configuration::load_into(&context.fleet, &context.options.config).await?;
    let services = start(&context);
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        Some(ending) = endings.recv() => ExitCode::from(ending as u8),
        // Nothing can be recorded any more. Whoever supervises this process starts it anew.
        () = context.fleet.ended() => anyhow::bail!("the fleet's task has ended"),
    };
    tracing::info!("ending");
    drop(services);
    // An empty commit takes along what nobody waited for.
    context.fleet.journal().commit(Vec::new()).wait().await?;
    Ok(code)
}

/// Every client costs a file or two, and the usual 1024 are fewer than the services' bounds together.
fn allow_many_files() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

/// The table of services. The set ends them when it is dropped.
fn start(context: &Context) -> JoinSet<()> {
    let mut services = JoinSet::new();
    supervise(
        &mut services,
        context,
        "configuration",
        configuration::watch,
    );
    supervise(&mut services, context, "checks", checks::run);
    supervise(&mut services, context, "images", images::run);
    supervise(&mut services, context, "doctor", doctor::run);
    supervise(&mut services, context, "http", http::run);
    supervise(&mut services, context, "dhcp", dhcp::run);
    supervise(&mut services, context, "capture", capture::run);
    supervise(&mut services, context, "tftp", tftp::run);
    supervise(&mut services, context, "dns", dns::run);
    supervise(&mut services, context, "ntp", ntp::run);
    supervise(
        &mut services,
        context,
        "router-advertisement",
        router_advertisement::run,
    );
    services
}

/// Whether `--only` leaves a service that opens ports.
fn is_wanted(name: &str, context: &Context) -> bool {
    let only = &context.options.only;
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

/// Adds a service that is started again whenever it ends.
fn supervise<Run, Service>(
    services: &mut JoinSet<()>,
    context: &Context,
    name: &'static str,
    run: Run,
) where
    Run: Fn(Context) -> Service + Send + 'static,
    Service: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    if PORT_SERVICES.contains(&name) && !is_wanted(name, context) {
        return;
    }
    let context = context.clone();
    services.spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            // A task of its own, so that a panic ends one run of one service and nothing else.
            match tokio::spawn(run(context.clone())).await {
                Ok(Ok(())) => tracing::warn!("{name} ended"),
                Ok(Err(error)) => tracing::error!("{name}: {error:#}"),
                Err(panic) => tracing::error!("{name}: {panic}"),
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::info!("{name} starts again in {} s", pause.as_secs());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HARDWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // The appliance's console is a terminal, and its serial log is read by people and programs.
    let colours = std::io::stderr().is_terminal() && std::env::var_os(UNDER_INIT).is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_kernel_lets() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most / 2, most).unwrap();
        allow_many_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((most, most)));
    }
}
