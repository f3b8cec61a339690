//! Serving boot files by TFTP (RFC 1350) as a state machine: read only, with the options blksize
//! (RFC 2348), timeout and tsize (RFC 2349), and windowsize (RFC 7440).
//!
//! [`Request::decode`] reads a client's first packet, or says which error packet answers it;
//! [`Transfer`] carries one file over.

mod interval;
mod packet;
#[cfg(test)]
mod tests;
mod transfer;

pub use packet::{ErrorCode, Refusal, Request, encode_data, encode_error};
pub use transfer::{AskedAgain, Outcome, Output, Transfer};
