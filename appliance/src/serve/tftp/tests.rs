//! The service on the loopback device, with clients that send what they like.

use super::*;
