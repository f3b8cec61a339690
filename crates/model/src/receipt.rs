//! What an installation leaves on the disk, so that it happens exactly once.
//!
//! The receipt stands in the gap between the GPT entries and the first partition, at byte
//! [`OFFSET`], inside the first MiB, which the agent writes last. A record with
//! [`Stage::Writing`] is put there before the first byte of an image, so that a disk whose
//! installation was cut off is known as ours. Encoding: the 8 bytes of [`MAGIC`], the length of the
//! JSON as u32 little-endian, its CRC-32 (IEEE) as u32 little-endian, the JSON, zero-padded to
//! [`LENGTH`].

use serde::{Deserialize, Serialize};

use crate::identity::Sha256;

/// Where the receipt stands on the disk, in bytes from its start: 960 KiB.
pub const OFFSET: u64 = 960 * 1024;
/// Bytes reserved for it. A multiple of every logical sector size.
pub const LENGTH: usize = 16 * 1024;
/// So many partitions are told at most.
pub const PARTITIONS: usize = 16;
/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"HARDWAY1";

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How far the installation got.
    pub stage: Stage,
    /// The cluster's name.
    pub cluster: String,
    /// The machine's name in cluster.yaml.
    pub machine: String,
    /// Which generation of the machine this installation fulfils.
    pub generation: u32,
    /// SHA-256 of the OS image file as it is served (compressed).
    pub image: Sha256,
    /// SHA-256 of the canonical JSON of the configuration that was applied.
    pub config: Sha256,
    /// [`crate::inventory::Disk::id`] of the disk.
    pub disk: String,
    /// Seconds since 1970-01-01 UTC, by the appliance's clock.
    pub time: u64,
    /// Version of the agent that wrote it.
    pub agent: String,
    /// Version of the appliance that planned it; `None` from an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// SHA-256 of the key with which the installed system confirms that it runs, so that an appliance
    /// without its journal believes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Sha256>,
    /// [`crate::inventory::Disk::id`] of the data disks that this installation took: each was blank,
    /// granted or taken already, and is therefore this machine's to write again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<String>,
    /// Of these, the ones that were blank: an installation that was cut off is begun anew on them,
    /// where on the others it finds what the configuration keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blank_data_disks: Vec<String>,
    /// GUIDs of the first partitions that stood there when the installation was complete. A table without
    /// any of them is somebody else's. Empty where nothing is said of that: in a plan, by an older agent,
    /// of an MBR, and of an image that may make a table of its own at its first start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
    /// By whom it is signed; `None` from an older appliance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ReceiptSignature>,
}

/// An Ed25519 signature (RFC 8032) of [`Receipt::signed_bytes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSignature {
    /// The appliance's public key: 64 hexadecimal digits.
    pub key: String,
    /// The signature: 128 hexadecimal digits.
    pub value: String,
}

/// Whose signature a receipt bears, by an appliance's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// This appliance's.
    Own,
    /// Another appliance's, or that of this one before it lost its key. It is right by the key that it
    /// names.
    Other,
    /// Nobody's.
    None,
    /// It does not fit what the receipt says.
    Broken,
}

/// How far an installation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Begun: the disk does not boot, and may be written again by the same machine.
    Writing,
    /// Everything is on the disk and was verified.
    Complete,
}

/// Why bytes are no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The magic is missing: there is no receipt.
    #[error("no receipt")]
    Absent,
    /// The magic is there, and the rest is damaged.
    #[error("damaged receipt: {0}")]
    Damaged(String),
    /// Too large to be written.
    #[error("receipt of {0} bytes does not fit into {LENGTH}")]
    TooLarge(usize),
}

impl Receipt {
    /// The record as the appliance planned it, without a signature.
    pub fn planned(&self) -> Self {
        Self {
            partitions: Vec::new(),
            signature: None,
            ..self.clone()
        }
    }

    /// Whether a table with these partitions can be the one that the installation left.
    pub fn fits(&self, partitions: &[String]) -> bool {
        let is_known = |guid| partitions.contains(guid);
        self.partitions.is_empty() || self.partitions.iter().any(is_known)
    }

    /// What a signature is of: the JSON of the record as it was planned, and complete. How far an
    /// installation got is not signed: a machine is given its plan with the whole of it beforehand, and it
    /// reads a complete receipt on a disk that does not boot yet as [`Stage::Writing`].
    pub fn signed_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let unsigned = Self {
            stage: Stage::Complete,
            ..self.planned()
        };
        serde_json::to_vec(&unsigned).map_err(|error| ReceiptError::Damaged(error.to_string()))
    }

    /// The [`LENGTH`] bytes that stand on the disk.
    pub fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        let json =
            serde_json::to_vec(self).map_err(|error| ReceiptError::Damaged(error.to_string()))?;
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32(&json).to_le_bytes());
        bytes.extend_from_slice(&json);
        if bytes.len() > LENGTH {
            return Err(ReceiptError::TooLarge(bytes.len()));
        }
        bytes.resize(LENGTH, 0);
        Ok(bytes)
    }

    /// Reads what stands at [`OFFSET`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let damaged = |what: &str| ReceiptError::Damaged(what.to_owned());
        let rest = bytes.strip_prefix(&MAGIC).ok_or(ReceiptError::Absent)?;
        let (length, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("cut off"))?;
        let (checksum, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("cut off"))?;
        let json = rest
            .get(..u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| damaged("length"))?;
        if crc32(json) != u32::from_le_bytes(*checksum) {
            return Err(damaged("checksum"));
        }
        serde_json::from_slice(json).map_err(|error| ReceiptError::Damaged(error.to_string()))
    }
}

/// CRC-32 (IEEE 802.3), bit by bit: sixteen KiB at most pass through here.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
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
            appliance: None,
            confirmation: None,
            partitions: Vec::new(),
            signature: None,
        }
    }

    #[test]
    fn round_trip() {
        let bytes = receipt().encode().unwrap();
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(Receipt::decode(&bytes).unwrap(), receipt());
    }

    /// A receipt that an older appliance signed has to be the same bytes to this one.
    #[test]
    fn what_is_signed_has_no_signature_and_no_absent_fields() {
        let signed = Receipt {
            stage: Stage::Writing,
            partitions: vec!["0B0B0B0B-0B0B-0B0B-0B0B-0B0B0B0B0B0B".into()],
            signature: Some(ReceiptSignature {
                key: "ab".into(),
                value: "cd".into(),
            }),
            ..receipt()
        };
        let text = String::from_utf8(signed.signed_bytes().unwrap()).unwrap();
        let (digest, config) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(
            text,
            format!(
                r#"{{"stage":"complete","cluster":"lab","machine":"node1","generation":3,"image":"{digest}","config":"{config}","disk":"QEMU_1","time":1800000000,"agent":"0.1.0"}}"#
            )
        );
    }

    #[test]
    fn a_table_of_other_partitions_is_not_the_one_that_was_left() {
        let guids = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let left = |names: &[&str]| Receipt {
            partitions: guids(names),
            ..receipt()
        };
        // The system has taken one partition away and made another.
        assert!(left(&["a", "b"]).fits(&guids(&["b", "c"])));
        assert!(!left(&["a", "b"]).fits(&guids(&["c"])));
        assert!(!left(&["a", "b"]).fits(&[]));
        assert!(left(&[]).fits(&guids(&["c"])), "it is not known");
    }

    #[test]
    fn damage_is_told_from_absence() {
        let bytes = receipt().encode().unwrap();
        assert_eq!(Receipt::decode(&[0; LENGTH]), Err(ReceiptError::Absent));
        for index in 8..60 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(
                matches!(Receipt::decode(&damaged), Err(ReceiptError::Damaged(_))),
                "byte {index}"
            );
        }
    }

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
