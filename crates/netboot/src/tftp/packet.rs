//! TFTP packets (RFC 1350 section 5, RFC 2347).

use std::collections::BTreeMap;
use std::str::FromStr;

pub(super) const READ: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const DATA: u16 = 3;
pub(super) const ACK: u16 = 4;
pub(super) const ERROR: u16 = 5;
pub(super) const OACK: u16 = 6;

/// RFC 2349 allows 255 s; a client that then fell silent would keep its transfer for half an hour.
const LONGEST_TIMEOUT: u8 = 8;
/// Bytes of a file's name.
const LONGEST_NAME: usize = 255;

/// A client's wish to read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The file: names of letters, digits, `.`, `_`, `-` and `:` that do not begin with a dot, with one `/`
    /// between each two. It can lead nowhere but below the folder that it is looked up in.
    pub file: String,
    /// Bytes in a block, 8 to 65464.
    pub block_size: Option<u16>,
    /// Seconds until the server sends again, 1 to 8.
    pub timeout: Option<u8>,
    /// Whether the client wants to know the size.
    pub wants_size: bool,
    /// Blocks sent without waiting for an acknowledgement, from 1.
    pub window_size: Option<u16>,
}

/// Error codes of RFC 1350's appendix, as far as this server sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// See the message.
    NotDefined = 0,
    /// File not found.
    FileNotFound = 1,
    /// Access violation.
    AccessViolation = 2,
    /// Illegal TFTP operation.
    IllegalOperation = 4,
}

/// Why a first packet is no request that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client is told.
    #[error("{message}")]
    Error {
        /// The code.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// An error packet, or nothing that is TFTP: an answer could start a loop.
    #[error("no TFTP request")]
    Silence,
}

impl Request {
    /// Reads the packet that a client sends to port 69.
    pub fn decode(packet: &[u8]) -> Result<Self, Refusal> {
        let (opcode, rest) = split_u16(packet).ok_or(Refusal::Silence)?;
        match opcode {
            READ => {}
            WRITE => {
                return Err(refusal(
                    ErrorCode::AccessViolation,
                    "files cannot be written here",
                ));
            }
            DATA | ACK | OACK => {
                return Err(refusal(
                    ErrorCode::IllegalOperation,
                    "no transfer is under way here",
                ));
            }
            _ => return Err(Refusal::Silence),
        }
        let mut fields = Fields(rest);
        let malformed = || refusal(ErrorCode::IllegalOperation, "the request is malformed");
        let file = fields.next().ok_or_else(malformed)?;
        let mode = fields.next().ok_or_else(malformed)?;
        if !mode.eq_ignore_ascii_case("octet") {
            return Err(refusal(
                ErrorCode::IllegalOperation,
                "only mode octet is served",
            ));
        }
        let options = options(fields);
        Ok(Self {
            file: file_name(file)?.to_owned(),
            block_size: number(&options, "blksize").filter(|size| (8..=65464).contains(size)),
            timeout: number(&options, "timeout")
                .filter(|seconds| (1..=LONGEST_TIMEOUT).contains(seconds)),
            wants_size: options.contains_key("tsize"),
            window_size: number(&options, "windowsize").filter(|blocks| *blocks > 0),
        })
    }
}

/// The fields of a request, each ended by a zero byte.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (field, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(field).ok()
    }
}

/// Option names are not case-sensitive (RFC 2347).
fn options(mut fields: Fields<'_>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        options.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    options
}

/// What is out of range is not acknowledged, so that the client goes on without it.
fn number<N: FromStr>(options: &BTreeMap<String, String>, name: &str) -> Option<N> {
    options.get(name)?.parse().ok()
}

/// Firmware asks for `/snponly.efi` as well as for `snponly.efi`, and GRUB for `/grub/grub.cfg-…`.
fn file_name(path: &str) -> Result<&str, Refusal> {
    let name = path.trim_start_matches('/');
    if name.len() > LONGEST_NAME || !name.split('/').all(is_plain) {
        return Err(refusal(
            ErrorCode::FileNotFound,
            "there is no such boot file",
        ));
    }
    Ok(name)
}

/// GRUB names a file after the hardware address as it writes it, with colons.
fn is_plain(component: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    !component.is_empty() && !component.starts_with('.') && component.bytes().all(is_plain)
}

fn refusal(code: ErrorCode, message: &str) -> Refusal {
    Refusal::Error {
        code,
        message: message.to_owned(),
    }
}

/// An error packet.
pub fn encode_error(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(5 + message.len());
    packet.extend_from_slice(&ERROR.to_be_bytes());
    packet.extend_from_slice(&(code as u16).to_be_bytes());
    packet.extend(message.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    packet
}

/// A data packet.
pub fn encode_data(block: u16, data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(4 + data.len());
    packet.extend_from_slice(&DATA.to_be_bytes());
    packet.extend_from_slice(&block.to_be_bytes());
    packet.extend_from_slice(data);
    packet
}

/// An option acknowledgement.
pub(super) fn encode_option_acknowledgement(options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        packet.extend_from_slice(name.as_bytes());
        packet.push(0);
        packet.extend_from_slice(value.to_string().as_bytes());
        packet.push(0);
    }
    packet
}

/// What a client sends in the course of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromClient {
    Acknowledgement(u16),
    Error { code: u16, message: String },
}

impl FromClient {
    /// Anything else is `None`.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let (opcode, rest) = split_u16(packet)?;
        let (number, rest) = split_u16(rest)?;
        match opcode {
            ACK => Some(Self::Acknowledgement(number)),
            ERROR => Some(Self::Error {
                code: number,
                message: Fields(rest)
                    .next()
                    .unwrap_or_default()
                    .escape_debug()
                    .take(128)
                    .collect(),
            }),
            _ => None,
        }
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}
