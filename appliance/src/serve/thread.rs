//! A service on an OS thread of its own.
//!
//! Packet loops do not share the runtime of pages and checks: whatever those do, a packet waits for
//! nobody but the packets before it.

use std::future::Future;

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::context::Context;

/// Runs a service on a thread with a single-threaded runtime of its own, until it ends or this future
/// is dropped. A panic of the service is an error of this function.
pub async fn own<Run, Service>(name: &'static str, context: Context, run: Run) -> anyhow::Result<()>
where
    Run: FnOnce(Context) -> Service + Send + 'static,
    Service: Future<Output = anyhow::Result<()>>,
{
    let (ended, outcome) = oneshot::channel();
    // Never sent: dropped with this future, which ends the thread.
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        runtime.block_on(async {
            tokio::select! {
                outcome = run(context) => outcome,
                _ = unwanted => Ok(()),
            }
        })
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // Nobody listens any more when the service is unwanted.
            let _ = ended.send(work());
        })
        .with_context(|| format!("starting the thread of {name}"))?;
    let ended = outcome.await;
    ended.map_err(|_| anyhow::anyhow!("the thread of {name} ended in a panic"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Appliance;

    async fn named(_: Context) -> anyhow::Result<()> {
        let thread = std::thread::current();
        anyhow::bail!("on {}", thread.name().unwrap_or_default())
    }

    async fn broken(_: Context) -> anyhow::Result<()> {
        let nothing: Vec<u8> = Vec::new();
        let index = nothing.len();
        anyhow::ensure!(nothing[index] == 0, "never");
        Ok(())
    }

    #[tokio::test]
    async fn the_outcome_comes_back_and_a_panic_is_an_error() {
        let context = Appliance::start().await.context;
        let error = own("alone", context.clone(), named).await.unwrap_err();
        assert_eq!(error.to_string(), "on alone");
        let error = own("broken", context, broken).await.unwrap_err();
        assert_eq!(error.to_string(), "the thread of broken ended in a panic");
    }

    #[tokio::test]
    async fn a_service_that_nobody_wants_any_more_ends() {
        let context = Appliance::start().await.context;
        let (alive, ended) = oneshot::channel::<()>();
        let service = own("endless", context, |_| async move {
            let _alive = alive;
            std::future::pending().await
        });
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, service).await.is_err());
        assert!(ended.await.is_err());
    }
}
