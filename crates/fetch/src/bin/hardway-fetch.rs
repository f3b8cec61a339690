//! `hardway-fetch`: fetches one URL for the agent, which has no TLS.
//!
//! Standard input is JSON: `{"url": …, "headers": [[name, value], …], "fetching": {…}}`, the last as
//! [`Fetching`]. The body goes to standard output. Exit status 0: it is whole. 1: it is not, and the
//! last line on standard error says why; lines before that tell of attempts that are repeated.

use std::io::{self, Write};
use std::process::ExitCode;

use hardway_fetch::Fetcher;
use hardway_ignition::operation::Fetching;
use serde::Deserialize;

/// What is fetched.
#[derive(Deserialize)]
struct Order {
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    fetching: Fetching,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let order: Order = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| format!("the order is not understood: {error}"))?;
    let fetcher = Fetcher::new(&order.fetching)?
        .telling(|failure, pause| eprintln!("{failure}; trying again in {pause:?}"));
    let mut body = fetcher.open(&order.url, &order.headers)?;
    let mut output = io::stdout().lock();
    io::copy(&mut body, &mut output).map_err(|error| format!("{}: {error}", order.url))?;
    output.flush()?;
    Ok(())
}
