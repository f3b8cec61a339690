//! async-tftp as a server, with its default settings: a peer that is a library.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use async_tftp::server::TftpServerBuilder;

/// What is served, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder that is served
    folder: PathBuf,
    /// The address that is served at, on port 69
    address: Ipv4Addr,
    /// Another port
    #[arg(long, default_value_t = 69)]
    port: u16,
}

/// The library's version, as it was locked.
pub fn version() -> String {
    let lock = include_str!("../../../Cargo.lock");
    let after = lock.split("name = \"async-tftp\"\nversion = \"").nth(1);
    let version = after.and_then(|rest| rest.split('"').next());
    version.unwrap_or("unknown").to_owned()
}

/// Serves until the process is ended.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let server = TftpServerBuilder::with_dir_ro(&arguments.folder)
        .with_context(|| format!("serving {}", arguments.folder.display()))?
        .bind((arguments.address, arguments.port).into());
    // Polls the library's reactor on this thread: no other way was faster.
    async_io::block_on(async {
        let server = server.build().await.context("opening the socket")?;
        server.serve().await.context("serving")
    })?;
    Ok(ExitCode::SUCCESS)
}
