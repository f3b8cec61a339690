//! The documents that plans were made with, until they are fetched.
//!
//! A configuration may name URLs whose content changes, so that what is rendered a minute later need
//! not be what the plan was made with. The last document of each machine is remembered; after a
//! restart of the appliance it is rendered again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hardway_model::identity::Sha256;

use crate::render::Rendered;

/// The last document of each machine, by name.
#[derive(Default)]
pub struct Documents(Mutex<BTreeMap<String, Rendered>>);

impl Documents {
    /// Remembers what a machine's plan was made with.
    pub fn remember(&self, machine: &str, document: Rendered) {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        documents.insert(machine.to_owned(), document);
    }

    /// The document with that digest, if it is the machine's last.
    pub fn find(&self, machine: &str, digest: Sha256) -> Option<Rendered> {
        let documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let document = documents.get(machine)?;
        (document.digest == digest).then(|| document.clone())
    }
}
