//! Signatures of OS images, as their makers publish them: minisign, and OpenPGP (RFC 9580), detached.

use std::fs::File;
use std::io::{BufReader, Cursor, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use hardway_model::identity::Sha256;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::SignatureType;
use pgp::types::KeyDetails as _;

use crate::imported::Hashing;

/// The largest file of keys or signatures that is read.
const LARGEST: u64 = 1 << 20;

/// Whose signatures are believed.
pub enum Key {
    /// A minisign public key, as `minisign -G` writes it.
    Minisign(Box<minisign_verify::PublicKey>),
    /// OpenPGP certificates, as `gpg --export` writes them, armored or not.
    OpenPgp(Vec<SignedPublicKey>),
}

impl Key {
    /// Reads a file of keys.
    ///
    /// # Errors
    ///
    /// It is neither kind.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = small(path)?;
        Self::of(&bytes).with_context(|| format!("reading the key {}", path.display()))
    }

    fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes).ok();
        if let Some(key) = text.and_then(|text| minisign_verify::PublicKey::decode(text).ok()) {
            return Ok(Self::Minisign(Box::new(key)));
        }
        let neither = "it is neither a minisign public key nor an OpenPGP certificate";
        let (certificates, _) =
            SignedPublicKey::from_reader_many(Cursor::new(bytes)).map_err(|_| anyhow!(neither))?;
        let certificates: Result<Vec<_>, _> = certificates.collect();
        let certificates = certificates.map_err(|error| anyhow!("{neither}: {error}"))?;
        ensure!(!certificates.is_empty(), neither);
        for certificate in &certificates {
            let revocations = &certificate.details.revocation_signatures;
            ensure!(revocations.is_empty(), "it was revoked by its owner");
        }
        Ok(Self::OpenPgp(certificates))
    }

    /// Checks a file with its signature. When the key expires is not asked: images outlive their keys.
    ///
    /// # Errors
    ///
    /// The signature is not one of this key, or not of this file.
    pub fn verify(&self, file: &Path, signature: &[u8]) -> anyhow::Result<Verified> {
        let verified = match self {
            Self::Minisign(key) => minisign(key, file, signature),
            Self::OpenPgp(certificates) => open_pgp(certificates, file, signature),
        };
        verified.with_context(|| format!("checking the signature of {}", file.display()))
    }
}

/// A file that its signature vouches for.
pub struct Verified {
    /// Who signed it, by which kind of signature.
    pub by: String,
    /// What was looked at.
    pub sha256: Sha256,
}

/// Reads a signature's file.
pub fn small(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(reading)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "{} is no key and no signature: it has more than 1 MiB",
        path.display()
    );
    Ok(bytes)
}

fn minisign(
    key: &minisign_verify::PublicKey,
    file: &Path,
    signature: &[u8],
) -> anyhow::Result<Verified> {
    let text = std::str::from_utf8(signature).context("it is no minisign signature")?;
    let signature = minisign_verify::Signature::decode(text)
        .map_err(|error| anyhow!("it is no minisign signature: {error}"))?;
    let mut verifier = key.verify_stream(&signature).map_err(explained)?;
    let mut content = Hashing::new(File::open(file)?);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            count => verifier.update(&buffer[..count]),
        }
    }
    verifier.finalize().map_err(explained)?;
    Ok(Verified {
        by: format!("minisign, {}", signature.trusted_comment()),
        sha256: content.sha256(),
    })
}

fn explained(error: minisign_verify::Error) -> anyhow::Error {
    match error {
        minisign_verify::Error::UnexpectedKeyId => anyhow!("another key made it"),
        minisign_verify::Error::InvalidSignature => anyhow!("it is not of this file"),
        minisign_verify::Error::UnsupportedLegacyMode => {
            anyhow!("it is of minisign's old form: it has to be made with `minisign -SH`")
        }
        other => anyhow!("{other}"),
    }
}

fn open_pgp(
    certificates: &[SignedPublicKey],
    file: &Path,
    signature: &[u8],
) -> anyhow::Result<Verified> {
    let (signatures, _) = DetachedSignature::from_reader_many(Cursor::new(signature))
        .map_err(|error| anyhow!("it is no OpenPGP signature: {error}"))?;
    let mut is_ours = false;
    for signature in signatures {
        let signature =
            signature.map_err(|error| anyhow!("it is no OpenPGP signature: {error}"))?;
        for certificate in certificates {
            let keys = std::iter::once(Verifier::Primary(certificate))
                .chain(certificate.public_subkeys.iter().map(Verifier::Subkey));
            for key in keys.filter(|key| key.is_named_by(&signature)) {
                is_ours = true;
                key.may_sign(certificate)?;
                let mut content = Hashing::new(File::open(file)?);
                let buffered = BufReader::with_capacity(1 << 20, &mut content);
                if key.verifies(&signature, buffered) {
                    return Ok(Verified {
                        by: format!("OpenPGP, {}", key.id()),
                        sha256: content.sha256(),
                    });
                }
            }
        }
    }
    match is_ours {
        true => bail!("it is not of this file"),
        false => bail!("another key made it"),
    }
}

/// A key of a certificate that may have signed.
#[derive(Clone, Copy)]
enum Verifier<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Verifier<'_> {
    /// Whether a signature says that this key made it, or does not say which one did.
    fn is_named_by(self, signature: &DetachedSignature) -> bool {
        let (id, fingerprint) = match self {
            Self::Primary(key) => (key.legacy_key_id(), key.fingerprint()),
            Self::Subkey(key) => (key.legacy_key_id(), key.fingerprint()),
        };
        let ids = signature.signature.issuer_key_id();
        let fingerprints = signature.signature.issuer_fingerprint();
        (ids.is_empty() && fingerprints.is_empty())
            || ids.contains(&&id)
            || fingerprints.contains(&&fingerprint)
    }

    /// A subkey has to be its owner's, for signing, and not revoked.
    fn may_sign(self, certificate: &SignedPublicKey) -> anyhow::Result<()> {
        let Self::Subkey(key) = self else {
            return Ok(());
        };
        let is_revocation = |binding: &pgp::packet::Signature| {
            binding.typ() == Some(SignatureType::SubkeyRevocation)
        };
        ensure!(
            !key.signatures.iter().any(is_revocation),
            "the key that made it was revoked by its owner"
        );
        ensure!(
            key.signatures
                .iter()
                .any(|binding| binding.key_flags().sign()),
            "the key that made it is not one for signing"
        );
        let bound = key.verify_bindings(&certificate.primary_key);
        bound.map_err(|error| anyhow!("the key that made it is not its owner's: {error}"))
    }

    fn verifies(self, signature: &DetachedSignature, content: impl std::io::Read) -> bool {
        let verified = match self {
            Self::Primary(key) => signature.signature.verify(key, content),
            Self::Subkey(key) => signature.signature.verify(key, content),
        };
        verified.is_ok()
    }

    /// The fingerprint, as `gpg` prints it.
    fn id(self) -> String {
        let fingerprint = match self {
            Self::Primary(key) => key.fingerprint(),
            Self::Subkey(key) => key.fingerprint(),
        };
        fingerprint.to_string().to_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Made by the programs themselves: see README.md in that folder.
    const GPG_KEY: &[u8] = include_bytes!("../tests/signatures/gpg-key.asc");
    const GPG_SIGNATURE: &[u8] = include_bytes!("../tests/signatures/image.asc");
    const GPG_BINARY: &[u8] = include_bytes!("../tests/signatures/image.sig");
    const MINISIGN_KEY: &[u8] = include_bytes!("../tests/signatures/minisign.pub");
    const MINISIGN_SIGNATURE: &[u8] = include_bytes!("../tests/signatures/image.minisig");

    const CONTENT: &[u8] = b"an image of an operating system\n";

    fn outcome(key: &[u8], signature: &[u8], content: &[u8]) -> Result<String, String> {
        let key = Key::of(key).map_err(|error| error.to_string())?;
        verified(&key, signature, content)
    }

    fn verified(key: &Key, signature: &[u8], content: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        fs::write(&file, content).unwrap();
        let verified = key.verify(&file, signature);
        let verified = verified.map_err(|error| format!("{:#}", error.root_cause()))?;
        assert_eq!(verified.sha256, hardway_image::hash(content));
        Ok(verified.by)
    }

    #[test]
    fn what_gpg_and_minisign_signed_is_believed_and_nothing_else() {
        let gpg = outcome(GPG_KEY, GPG_SIGNATURE, CONTENT).unwrap();
        assert!(gpg.starts_with("OpenPGP, ") && gpg.len() == 9 + 40, "{gpg}");
        assert_eq!(outcome(GPG_KEY, GPG_BINARY, CONTENT).unwrap(), gpg);
        let minisign = outcome(MINISIGN_KEY, MINISIGN_SIGNATURE, CONTENT).unwrap();
        assert!(minisign.starts_with("minisign, "), "{minisign}");

        let other = b"another image\n";
        for (key, signature, content, cause) in [
            (GPG_KEY, GPG_SIGNATURE, &other[..], "it is not of this file"),
            (
                MINISIGN_KEY,
                MINISIGN_SIGNATURE,
                other,
                "it is not of this file",
            ),
            (
                GPG_KEY,
                MINISIGN_SIGNATURE,
                CONTENT,
                "it is no OpenPGP signature",
            ),
            (
                MINISIGN_KEY,
                GPG_SIGNATURE,
                CONTENT,
                "it is no minisign signature",
            ),
            (
                CONTENT,
                GPG_SIGNATURE,
                CONTENT,
                "it is neither a minisign public key",
            ),
        ] {
            let error = outcome(key, signature, content).unwrap_err();
            assert!(error.starts_with(cause), "{cause}: {error}");
        }
    }

    #[test]
    fn a_key_that_others_vouch_for_is_believed_and_a_revoked_one_is_not() {
        const CERTIFIED: &[u8] = include_bytes!("../tests/signatures/gpg-certified.asc");
        const REVOKED: &[u8] = include_bytes!("../tests/signatures/gpg-revoked.asc");
        const BY_SUBKEY: &[u8] = include_bytes!("../tests/signatures/certified.asc");
        let by = outcome(CERTIFIED, BY_SUBKEY, CONTENT).unwrap();
        assert!(by.starts_with("OpenPGP, "), "{by}");
        assert_eq!(
            outcome(REVOKED, BY_SUBKEY, CONTENT).unwrap_err(),
            "the key that made it was revoked by its owner"
        );
        assert_eq!(
            outcome(GPG_KEY, BY_SUBKEY, CONTENT).unwrap_err(),
            "another key made it"
        );
    }

    /// A flipped bit anywhere in a signature or a key is an error and no panic.
    #[test]
    fn damage_is_never_believed() {
        for (key, signature) in [(GPG_KEY, GPG_BINARY), (MINISIGN_KEY, MINISIGN_SIGNATURE)] {
            let key = Key::of(key).unwrap();
            let same = verified(&key, signature, CONTENT).unwrap();
            for at in 0..signature.len() {
                let mut damaged = signature.to_vec();
                damaged[at] ^= 0x10;
                // What is not signed itself, as a comment or an unhashed hint, may be another.
                if let Ok(by) = verified(&key, &damaged, CONTENT) {
                    assert_eq!(by, same, "byte {at}");
                }
                assert!(verified(&key, &damaged, b"another").is_err(), "byte {at}");
            }
        }
    }
}
