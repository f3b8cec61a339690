//! A build without TLS: what has to be encrypted is refused.

use crate::error::FetchError;
use crate::url::Url;
use crate::wire::Wire;

/// Nobody is trusted.
#[derive(Debug)]
pub(crate) struct Trust;

impl Trust {
    /// Whether anything can be encrypted.
    pub(crate) const IS_AVAILABLE: bool = false;

    /// Authorities mean nothing here.
    pub(crate) fn new(_authorities: &[String]) -> Result<Self, FetchError> {
        Ok(Self)
    }

    /// Always refuses.
    pub(crate) fn encrypt(
        &self,
        _wire: Box<dyn Wire>,
        peer: &Url,
        wanted: &Url,
    ) -> Result<Box<dyn Wire>, FetchError> {
        Err(FetchError::Encrypted {
            url: wanted.to_string(),
            peer: peer.to_string(),
        })
    }
}
