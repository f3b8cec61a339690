//! Hello, orders, execution, and the next hello, with a fresh look at the hardware each time.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hardway_model::identity::MacAddress;
use hardway_model::messages::{AgentEvent, Hello, Orders};
use hardway_model::plan::Plan;
use hardway_userspace::power;

use crate::apply::{self, Execution, FetchedConfig};
use crate::drivers::Drivers;
use crate::http::{Appliance, HttpError};
use crate::patience::patiently;
use crate::reports::Reports;
use crate::{boot_variables, clock, inventory};

/// How long a failed step stands on the console before the next hello.
const HOLD: Duration = Duration::from_secs(30);
/// How long a refused token stands there before the reboot that gets a new one.
const REFUSED: Duration = Duration::from_secs(60);

/// One run of the agent against one appliance.
pub struct Session {
    boot_mac: MacAddress,
    appliance: Appliance,
    drivers: Drivers,
    reports: Reports,
    /// Served once a token, and kept for a second try.
    config: Option<FetchedConfig>,
}

impl Session {
    /// A machine that is up, knows the time and its appliance.
    pub fn new(
        _clock: clock::IsSet,
        boot_mac: MacAddress,
        appliance: Appliance,
        drivers: Drivers,
        reports: Reports,
    ) -> Self {
        Self {
            boot_mac,
            appliance,
            drivers,
            reports,
            config: None,
        }
    }

    /// Says hello and obeys until control has passed to another kernel. An error is one of the
    /// network or the appliance.
    pub fn run(mut self) -> Result<Infallible> {
        loop {
            self.drivers.coldplug();
            if let Err(error) = boot_variables::mount(&mut self.drivers) {
                self.reports.log(&format!("{error:#}"));
            }
            match self.hello()? {
                Orders::Execute {
                    plan,
                    confirmation_key,
                } => self.execute(&plan, &confirmation_key),
                Orders::Hold {
                    reason,
                    retry_after,
                } => {
                    let pause = Duration::from_secs(retry_after.clamp(1, 3600).into());
                    self.reports.show(&format!(
                        "\nholding: {reason}\nasking again in {} s",
                        pause.as_secs()
                    ));
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn hello(&self) -> Result<Orders> {
        let hello = Hello {
            token: self.appliance.token().to_owned(),
            boot_mac: self.boot_mac,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            fetched: self.appliance.fetched(),
            inventory: inventory::take(Path::new("/")),
        };
        let outcome = patiently(&self.reports, || {
            self.appliance.ask("/agent/v1/hello", &hello)
        });
        if let Err(error @ HttpError::Refused(_)) = &outcome {
            self.reboot_for_a_new_token(error);
        }
        outcome.context("asking the appliance what to do")
    }

    fn execute(&mut self, plan: &Plan, confirmation_key: &str) {
        let execution = Execution {
            appliance: &self.appliance,
            reports: &self.reports,
            drivers: &mut self.drivers,
            config: &mut self.config,
            confirmation_key,
        };
        let Err(failure) = apply::execute(plan, execution);
        let cause = format!("{:#}", failure.error);
        self.reports.event(AgentEvent::Failed {
            step: failure.step.to_owned(),
            cause: cause.clone(),
        });
        self.reports.show(&format!(
            "\n*** {} failed: {cause}\n*** asking the appliance again in {} s",
            failure.step,
            HOLD.as_secs()
        ));
        self.reports.flush(HOLD);
        let spent = failure
            .error
            .chain()
            .find_map(|cause| match cause.downcast_ref() {
                Some(error @ HttpError::Refused(_)) => Some(error),
                _ => None,
            });
        if let Some(error) = spent {
            self.reboot_for_a_new_token(error);
        }
        std::thread::sleep(HOLD);
    }

    /// The next boot comes with a new token. Without this the machine would hold for ever.
    fn reboot_for_a_new_token(&self, error: &HttpError) {
        self.reports.show(&format!(
            "\n*** {error}\n*** rebooting for a new one in {} s",
            REFUSED.as_secs()
        ));
        std::thread::sleep(REFUSED);
        let Err(error) = power::reboot();
        self.reports.show(&crate::patience::chain(&error));
    }
}
