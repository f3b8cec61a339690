//! The servers that the cases fetch from, all on 127.0.0.1: HTTP on 8080, TFTP on 69, and one for each
//! `$testserverN`.

mod http;
mod routes;
mod testserver;
mod tftp;

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use super::certificates::Authorities;
use super::corpus::{Case, Servers as Described};
use super::substitute;

/// All of them. They run until the process ends.
pub struct Servers {
    described: Described,
    authorities: Arc<Authorities>,
    /// URLs of the test servers that run, by what they do.
    running: Mutex<BTreeMap<testserver::Behaviour, String>>,
}

impl Servers {
    /// Starts those that are always there.
    pub fn start(described: &Described, authorities: &Arc<Authorities>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 8080)).context("listening on port 8080")?;
        let routes = routes::Routes::new(&described.behaviour, authorities);
        http::start(listener, None, move |request| routes.answer(request));
        let socket = UdpSocket::bind(("127.0.0.1", 69)).context("listening on port 69")?;
        tftp::start(socket, described.behaviour.clone());
        Ok(Self {
            described: described.clone(),
            authorities: Arc::clone(authorities),
            running: Mutex::default(),
        })
    }

    /// A config with the URLs of the test servers that it names; they are started if need be.
    ///
    /// # Errors
    ///
    /// A server of which nobody knows what it does.
    pub fn substitute(&self, case: &Case, config: &str) -> Result<String> {
        let mut urls = BTreeMap::new();
        for number in substitute::servers_in(config) {
            let behaviour =
                testserver::Behaviour::of(case, config, number, &self.described.testservers_scheme)
                    .with_context(|| format!("$testserver{number}: nobody knows what it does"))?;
            urls.insert(number, self.url(behaviour)?);
        }
        let url = |number: usize| urls.get(&number).cloned().unwrap_or_default();
        Ok(substitute::servers(config, url))
    }

    fn url(&self, behaviour: testserver::Behaviour) -> Result<String> {
        let mut running = self
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(url) = running.get(&behaviour) {
            return Ok(url.clone());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening on a free port")?;
        let port = listener.local_addr()?.port();
        let authority = match behaviour {
            testserver::Behaviour::Tls(index) => self.authorities.authorities.get(index),
            _ => None,
        };
        let scheme = if authority.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let tls = authority.map(|authority| Arc::clone(&authority.server));
        let server = testserver::TestServer::new(behaviour, url.clone());
        http::start(listener, tls, move |request| server.answer(request));
        running.insert(behaviour, url.clone());
        Ok(url)
    }
}
