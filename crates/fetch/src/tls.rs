//! TLS, by rustls with ring: who is trusted, and the encrypted stream.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};

use crate::error::FetchError;
use crate::url::Url;
use crate::wire::Wire;

/// Whose certificates are taken.
#[derive(Debug)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Whether anything can be encrypted.
    pub(crate) const IS_AVAILABLE: bool = true;

    /// Mozilla's authorities and those of the configuration: PEM, one or several each.
    pub(crate) fn new(authorities: &[String]) -> Result<Self, FetchError> {
        let mut configured = Vec::new();
        for (index, text) in authorities.iter().enumerate() {
            let number = index + 1;
            let certificates: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            match certificates {
                Ok(certificates) if !certificates.is_empty() => configured.extend(certificates),
                _ => return Err(FetchError::Authority { number }),
            }
            let is_sound = |certificate: &CertificateDer<'static>| {
                webpki::anchor_from_trusted_cert(certificate).is_ok()
            };
            if !configured.iter().all(is_sound) {
                return Err(FetchError::Authority { number });
            }
        }
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        roots.add_parsable_certificates(configured.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let refuse = |error: &dyn std::error::Error| FetchError::Trust {
            url: "(before any request)".to_owned(),
            cause: error.to_string(),
        };
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| refuse(&error))?;
        let verifier = Verifier { chains, configured };
        let config = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Shakes hands with `peer`; `wanted` is what this is for.
    pub(crate) fn encrypt(
        &self,
        mut wire: Box<dyn Wire>,
        peer: &Url,
        wanted: &Url,
    ) -> Result<Box<dyn Wire>, FetchError> {
        let broken = |cause: String| FetchError::Connection {
            url: wanted.to_string(),
            cause: format!("TLS with {}: {cause}", peer.authority()),
        };
        let name = ServerName::try_from(peer.host.clone())
            .map_err(|_| broken("the host's name cannot be in a certificate".to_owned()))?;
        let mut connection = ClientConnection::new(self.config.clone(), name)
            .map_err(|error| broken(error.to_string()))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut wire)
                .map_err(|error| match untrusted(&error) {
                    Some(cause) => FetchError::Trust {
                        url: wanted.to_string(),
                        cause,
                    },
                    None if error.kind() == io::ErrorKind::TimedOut => {
                        broken("the time is up".to_owned())
                    }
                    None => broken(error.to_string()),
                })?;
        }
        Ok(Box::new(StreamOwned::new(connection, wire)))
    }
}

/// What is wrong with the certificate, if that is why the handshake failed.
fn untrusted(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        error if is_authority(error) => {
            Some("its certificate is that of an authority which is not configured".to_owned())
        }
        rustls::Error::InvalidCertificate(cause) => Some(match cause {
            CertificateError::UnknownIssuer => {
                "its certificate comes from no authority that is known here".to_owned()
            }
            cause => format!("its certificate is refused: {cause}"),
        }),
        _ => None,
    }
}

/// Chains of certificates as WebPKI has them; beside that, a server may use a configured authority's
/// own certificate, which WebPKI never takes for a server's and Go does.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    configured: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let Err(error) = verdict else { return verdict };
        if !is_authority(&error) || !self.configured.contains(end_entity) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Whether the only thing wrong is that the certificate is an authority's. WebPKI judges the time of
/// validity before that, so a certificate that has expired does not come this far.
fn is_authority(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => matches!(
            other.0.downcast_ref::<webpki::Error>(),
            Some(webpki::Error::CaUsedAsEndEntity)
        ),
        _ => false,
    }
}
