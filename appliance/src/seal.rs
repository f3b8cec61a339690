//! Signatures of receipts: Ed25519 (RFC 8032), by a key that this appliance keeps beside its journal.
//!
//! A signature says that this appliance planned the installation. Whose it is matters where a receipt
//! says more than the journal: see `hardway_model::plan::believable`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use hardway_model::identity::Sha256;
use hardway_model::plan::{Decision, Step};
use hardway_model::receipt::{Receipt, ReceiptSignature, Seal};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::Digest as _;

/// The key's file in the state folder: PKCS #8 (RFC 5958).
pub const FILE: &str = "receipt-key";

/// What receipts are signed with.
pub struct Sealer {
    pair: Ed25519KeyPair,
}

impl Sealer {
    /// The key of a state folder, made on first use.
    ///
    /// # Errors
    ///
    /// The file cannot be read, made or understood.
    pub fn load(state: &Path) -> anyhow::Result<Self> {
        let path = state.join(FILE);
        let existing = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        // Empty after a power cut in the middle of its making.
        let document = match existing.is_empty() {
            false => existing,
            true => make(&path).with_context(|| format!("making {}", path.display()))?,
        };
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|error| {
            anyhow!(
                "{} is no Ed25519 key ({error}); without it a new one is made, and receipts that the \
                 old one signed count as another appliance's",
                path.display()
            )
        })?;
        Ok(Self { pair })
    }

    /// Signs every receipt that a decision is to leave.
    ///
    /// # Errors
    ///
    /// A receipt that JSON cannot hold; there is none.
    pub fn sign(&self, mut decision: Decision) -> anyhow::Result<Decision> {
        if let Decision::Install { plan, .. } = &mut decision {
            for step in &mut plan.steps {
                if let Step::ClaimDisk { receipt, .. } | Step::CommitDisk { receipt } = step {
                    let signed = self.pair.sign(&receipt.signed_bytes()?);
                    receipt.signature = Some(ReceiptSignature {
                        key: hexadecimal(self.pair.public_key().as_ref()),
                        value: hexadecimal(signed.as_ref()),
                    });
                }
            }
        }
        Ok(decision)
    }

    /// Whose signature a receipt bears.
    pub fn judge(&self, receipt: &Receipt) -> Seal {
        let Some(signature) = &receipt.signature else {
            return Seal::None;
        };
        let (Some(key), Some(value), Ok(signed)) = (
            bytes(&signature.key),
            bytes(&signature.value),
            receipt.signed_bytes(),
        ) else {
            return Seal::Broken;
        };
        let is_right = UnparsedPublicKey::new(&ED25519, &key).verify(&signed, &value);
        match (is_right, key == self.pair.public_key().as_ref()) {
            (Err(_), _) => Seal::Broken,
            (Ok(()), true) => Seal::Own,
            (Ok(()), false) => Seal::Other,
        }
    }
}

/// What a receipt tells of a confirmation key.
pub fn of_key(key: &str) -> Sha256 {
    Sha256(sha2::Sha256::digest(key).into())
}

fn make(path: &Path) -> anyhow::Result<Vec<u8>> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|error| anyhow!("asking the kernel for randomness: {error}"))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(document.as_ref())?;
    file.sync_all()?;
    Ok(document.as_ref().to_vec())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use hardway_model::plan::Plan;
    use hardway_model::receipt::Stage;

    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            stage: Stage::Complete,
            cluster: "lab".into(),
            machine: "node1".into(),
            generation: 3,
            image: Sha256([1; 32]),
            config: Sha256([2; 32]),
            disk: "QEMU_1".into(),
            time: 1_800_000_000,
            agent: "0.1.0".into(),
            data_disks: Vec::new(),
            blank_data_disks: Vec::new(),
            appliance: Some("0.1.0".into()),
            confirmation: Some(of_key("key")),
            partitions: Vec::new(),
            signature: None,
        }
    }

    fn signed(sealer: &Sealer) -> Receipt {
        let plan = Plan {
            machine: "node1".into(),
            generation: 3,
            steps: vec![Step::CommitDisk { receipt: receipt() }],
        };
        let decision = Decision::Install {
            plan,
            spends: Vec::new(),
        };
        match sealer.sign(decision).unwrap() {
            Decision::Install { mut plan, .. } => match plan.steps.remove(0) {
                Step::CommitDisk { receipt } => receipt,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whose_a_receipt_is() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let sealer = Sealer::load(here.path()).unwrap();
        let stranger = Sealer::load(there.path()).unwrap();
        let receipt_of_ours = signed(&sealer);
        // As it comes back from the disk, by a key that was read again.
        let encoded = receipt_of_ours.encode().unwrap();
        let again = Sealer::load(here.path()).unwrap();
        assert_eq!(again.judge(&Receipt::decode(&encoded).unwrap()), Seal::Own);
        assert_eq!(stranger.judge(&receipt_of_ours), Seal::Other);
        // As an agent reads it where the power was cut just before the boot sector.
        let begun = Receipt {
            stage: Stage::Writing,
            ..receipt_of_ours.clone()
        };
        assert_eq!(sealer.judge(&begun), Seal::Own);
        assert_eq!(sealer.judge(&receipt()), Seal::None);
        let raised = Receipt {
            generation: 4,
            ..receipt_of_ours.clone()
        };
        assert_eq!(sealer.judge(&raised), Seal::Broken);
        assert_eq!(stranger.judge(&raised), Seal::Broken);
        let mut torn = receipt_of_ours;
        torn.signature.as_mut().unwrap().value.truncate(20);
        assert_eq!(sealer.judge(&torn), Seal::Broken);
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_an_empty_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), b"not a key").unwrap();
        let error = Sealer::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("is no Ed25519 key"), "{error}");
        std::fs::write(folder.path().join(FILE), b"").unwrap();
        Sealer::load(folder.path()).unwrap();
    }
}
