//! A simple NTP server's answer (RFC 5905 section 14).
//!
//! It answers clients and nobody else: no peers, no broadcasts, no control messages (mode 6 and 7),
//! and never with more bytes than it was asked with.

use self::limiter::Turn;

pub mod limiter;
#[cfg(test)]
mod tests;

/// A moment, in nanoseconds since 1970-01-01 UTC.
pub type Nanoseconds = u64;

/// What the server knows of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Who keeps it right.
    pub discipline: Discipline,
    /// The base-two logarithm of the time that reading it takes, in seconds; see [`precision`].
    pub precision: i8,
    /// When it was last known to be as `discipline` says.
    pub reference: Nanoseconds,
}

/// Who keeps a clock right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// Somebody who tells the kernel so, as a time daemon on the same host does.
    Kernel {
        /// The kernel's bound on what the clock is off, in microseconds (`maxerror` of adjtimex(2)).
        most_microseconds: u32,
        /// Whether a leap second is announced.
        leap: Leap,
    },
    /// Nobody; but it was set, by a battery's clock or by hand, to a time that can be.
    Local,
    /// Nobody, and it was never set.
    Unset,
}

/// What happens at the end of this day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leap {
    /// Nothing.
    None,
    /// Its last minute has 61 seconds.
    Insert,
    /// Its last minute has 59 seconds.
    Delete,
}

/// When a request came and when its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the request was received.
    pub received: Nanoseconds,
    /// When the reply is about to be sent.
    pub now: Nanoseconds,
}

/// Bytes of an NTP header, and of every reply.
pub const HEADER: usize = 48;
/// From 1900-01-01, where NTP counts from, to 1970-01-01 (RFC 5905 figure 4).
const SECONDS_TO_1970: u64 = 2_208_988_800;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const NOT_SYNCHRONISED: u8 = 3;
/// Stratum 16 on the wire is a client's own notion; a server that is not synchronised sends it too
/// (RFC 5905 figure 11).
const UNSYNCHRONISED: u8 = 16;
/// Of a clock that a daemon on this host keeps right. The kernel does not know that daemon's stratum:
/// this is more than any that reaches a rack commonly has, so that nobody prefers this clock to a
/// better one.
const BY_KERNEL: u8 = 5;
/// Of a clock that is its own reference: what `local` servers commonly say.
const LOCAL: u8 = 10;
/// A server's reference is named by its address: this host's own daemon, and no address that is
/// anybody's for a clock of its own (as other servers do).
const OWN_DAEMON: [u8; 4] = [127, 0, 0, 1];
const OWN_CLOCK: [u8; 4] = [127, 127, 1, 1];
/// A kiss of death that says "less often" (RFC 5905 section 7.4).
const RATE: [u8; 4] = *b"RATE";
/// How far off a clock may be that nobody keeps right, in 16.16 fixed point: unknown. A second is the
/// most that common clients still follow (ntpd takes 1.5 s, chrony 3 s), and a rack whose clocks agree
/// is better off than one without time.
const UNKNOWN_DISPERSION: u32 = 1 << 16;

/// The reply to `request`, or nothing when it is no client's request of version 1 to 4. Of `turn` it
/// depends whether it is the time or a request for patience.
pub fn respond(request: &[u8], clock: Clock, times: Times, turn: Turn) -> Option<[u8; HEADER]> {
    let request: &[u8; HEADER] = request.first_chunk()?;
    let (version, mode) = ((request[0] >> 3) & 7, request[0] & 7);
    // Version 1 has no mode field (RFC 1059): clients of it send zero there.
    let is_request = mode == MODE_CLIENT || (version == 1 && mode == 0);
    if !(1..=4).contains(&version) || !is_request {
        return None;
    }
    let mut reply = [0; HEADER];
    reply[2] = request[2];
    let (_, transmit) = request.split_at(40);
    reply[24..32].copy_from_slice(transmit);
    reply[32..40].copy_from_slice(&timestamp(times.received));
    reply[40..48].copy_from_slice(&timestamp(times.now));
    let leap = match turn {
        Turn::Serve => describe(&mut reply, clock),
        Turn::Kiss => {
            reply[12..16].copy_from_slice(&RATE);
            NOT_SYNCHRONISED
        }
        Turn::Ignore => return None,
    };
    reply[0] = leap << 6 | version << 3 | MODE_SERVER;
    Some(reply)
}

/// Fills in what the clock is worth, and gives the leap indicator. The root delay stays zero: what is
/// known of the way to the reference is in the dispersion, the kernel's bound being on both.
fn describe(reply: &mut [u8; HEADER], clock: Clock) -> u8 {
    let (leap, stratum, identifier, dispersion) = match clock.discipline {
        Discipline::Kernel {
            most_microseconds,
            leap,
        } => {
            let leap = match leap {
                Leap::None => 0,
                Leap::Insert => 1,
                Leap::Delete => 2,
            };
            let dispersion = (u64::from(most_microseconds) << 16).div_ceil(1_000_000);
            let dispersion = u32::try_from(dispersion).unwrap_or(u32::MAX);
            (leap, BY_KERNEL, OWN_DAEMON, dispersion)
        }
        Discipline::Local => (0, LOCAL, OWN_CLOCK, UNKNOWN_DISPERSION),
        Discipline::Unset => (NOT_SYNCHRONISED, UNSYNCHRONISED, [0; 4], UNKNOWN_DISPERSION),
    };
    reply[1] = stratum;
    reply[3] = clock.precision.cast_unsigned();
    reply[8..12].copy_from_slice(&dispersion.to_be_bytes());
    reply[12..16].copy_from_slice(&identifier);
    if clock.discipline != Discipline::Unset {
        reply[16..24].copy_from_slice(&timestamp(clock.reference));
    }
    leap
}

/// The precision field for a clock whose reading takes so many nanoseconds (RFC 5905 section 7.3).
pub fn precision(nanoseconds: u64) -> i8 {
    // 2^30 ns are 1.07 s: within the field's accuracy, which is a power of two.
    let logarithm = nanoseconds.max(1).next_power_of_two().trailing_zeros();
    i8::try_from(logarithm).unwrap_or(30).min(30) - 30
}

/// NTP's 32.32 fixed point. The seconds wrap in 2036 as the era does (RFC 5905 section 6).
fn timestamp(since_1970: Nanoseconds) -> [u8; 8] {
    const A_SECOND: u64 = 1_000_000_000;
    let seconds = (since_1970 / A_SECOND).wrapping_add(SECONDS_TO_1970) as u32;
    let fraction = ((since_1970 % A_SECOND) << 32) / A_SECOND;
    (u64::from(seconds) << 32 | fraction).to_be_bytes()
}
