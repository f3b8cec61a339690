//! How often a client may ask for the time (RFC 5905 section 7.4 and 14).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Nanoseconds;

const A_SECOND: Nanoseconds = 1_000_000_000;
/// Requests that a client may make at once: twice what `iburst` of common clients sends.
const BURST: u64 = 16;
/// One more is allowed after this time. Clients ask every 64 s or less often.
const EACH: Nanoseconds = 2 * A_SECOND;
/// A client that asks too often is told so once in this time, and else left unanswered: whoever forges
/// another's address gets him no flood.
const BETWEEN_KISSES: Nanoseconds = 10 * A_SECOND;
/// Clients that are remembered. Who has not asked for longest makes room.
const CLIENTS: usize = 4096;

/// What a client gets this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The time.
    Serve,
    /// A kiss of death: it asks too often.
    Kiss,
    /// Nothing.
    Ignore,
}

/// Who asked when.
#[derive(Debug, Clone, Default)]
pub struct Limiter {
    clients: BTreeMap<Ipv4Addr, Client>,
    /// By when they asked last, to find who makes room.
    order: BTreeMap<(Nanoseconds, Ipv4Addr), ()>,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    /// When it will have all of its requests again.
    full_at: Nanoseconds,
    kissed: Option<Nanoseconds>,
    asked: Nanoseconds,
}

impl Limiter {
    /// What a request of `address` gets that came at `now`, by a clock that nobody sets.
    pub fn turn(&mut self, address: Ipv4Addr, now: Nanoseconds) -> Turn {
        let former = self.clients.remove(&address);
        let mut client = former.unwrap_or(Client {
            full_at: now,
            kissed: None,
            asked: now,
        });
        self.order.remove(&(client.asked, address));
        client.asked = now;
        let full_at = client.full_at.max(now) + EACH;
        let turn = if full_at <= now + BURST * EACH {
            client.full_at = full_at;
            Turn::Serve
        } else if client
            .kissed
            .is_none_or(|kissed| kissed + BETWEEN_KISSES <= now)
        {
            client.kissed = Some(now);
            Turn::Kiss
        } else {
            Turn::Ignore
        };
        self.remember(address, client);
        turn
    }

    fn remember(&mut self, address: Ipv4Addr, client: Client) {
        if self.clients.len() >= CLIENTS
            && let Some(((_, oldest), ())) = self.order.pop_first()
        {
            self.clients.remove(&oldest);
        }
        self.order.insert((client.asked, address), ());
        self.clients.insert(address, client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

    #[test]
    fn a_burst_is_served_a_flood_is_not() {
        let mut limiter = Limiter::default();
        let mut turns = |seconds: u64, count| {
            let now = (1000 + seconds) * A_SECOND;
            let turns: Vec<Turn> = (0..count).map(|_| limiter.turn(CLIENT, now)).collect();
            let of = |wanted| turns.iter().filter(|turn| **turn == wanted).count();
            (of(Turn::Serve), of(Turn::Kiss), of(Turn::Ignore))
        };
        assert_eq!(turns(0, 16), (16, 0, 0));
        assert_eq!(turns(0, 5), (0, 1, 4));
        assert_eq!(turns(2, 3), (1, 0, 2));
        assert_eq!(turns(10, 6), (4, 1, 1));
        assert_eq!(
            turns(3600, 20),
            (16, 1, 3),
            "no more than a burst is saved up"
        );
    }

    #[test]
    fn clients_that_ask_as_they_should_are_always_served() {
        let mut limiter = Limiter::default();
        for turn in 0..1000_u64 {
            let now = turn * 8 * A_SECOND;
            assert_eq!(limiter.turn(CLIENT, now), Turn::Serve);
        }
    }

    #[test]
    fn a_crowd_takes_no_more_memory_than_its_bound() {
        let mut limiter = Limiter::default();
        for number in 0..10_000_u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + number);
            limiter.turn(address, u64::from(number));
        }
        assert_eq!(
            (limiter.clients.len(), limiter.order.len()),
            (CLIENTS, CLIENTS)
        );
        assert!(!limiter.clients.contains_key(&Ipv4Addr::from(0x0a00_0000)));
    }
}
