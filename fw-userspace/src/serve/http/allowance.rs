//! How many passwords may be tried: bcrypt is slow on purpose, and whoever guesses is not to have a CPU with it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// What a run of this cost takes is 1, some 50 ms; each step doubles it.
const COST_OF_ONE: u32 = 10;

/// All peers together.
const ALL: Limit = Limit { a_second: 1.0, most: 16.0 };
/// One address, or one /64 of IPv6.
const EACH: Limit = Limit { a_second: 0.1, most: 4.0 };
/// Addresses that are told apart.
const MOST_PEERS: usize = 1024;

#[derive(Clone, Copy)]
struct Limit {
    a_second: f64,
    most: f64,
}

/// What may be had now; below nothing after a run that took more than there was.
struct Bucket {
    level: f64,
    at: Instant,
}

pub(super) struct Allowance(Mutex<Buckets>);

struct Buckets {
    all: Bucket,
    /// `None` is everybody without an address, and whoever comes when all places are taken.
    each: HashMap<Option<IpAddr>, Bucket>,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Buckets { all: Bucket::full(ALL, Instant::now()), each: HashMap::new() }))
    }

    /// Takes a run of bcrypt for a peer; else says when to come again.
    pub(super) fn take(&self, peer: Option<IpAddr>, cost: u32) -> Result<(), Duration> {
        let taken = f64::from(cost.saturating_sub(COST_OF_ONE)).exp2();
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, each } = &mut *buckets;
        let mut peer = peer.map(told_apart);
        if !each.contains_key(&peer) && each.len() >= MOST_PEERS {
            each.retain(|_, bucket| bucket.wait(EACH, EACH.most, now) > Duration::ZERO);
            if each.len() >= MOST_PEERS {
                peer = None;
            }
        }
        let own = each.entry(peer).or_insert_with(|| Bucket::full(EACH, now));
        match all.wait(ALL, taken, now).max(own.wait(EACH, taken, now)) {
            Duration::ZERO => {
                all.level -= taken;
                own.level -= taken;
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

impl Bucket {
    fn full(limit: Limit, now: Instant) -> Self {
        Self { level: limit.most, at: now }
    }

    /// Until there is so much in it, or as much as there can be.
    fn wait(&mut self, limit: Limit, wanted: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * limit.a_second).min(limit.most);
        self.at = now;
        let missing = wanted.min(limit.most) - self.level;
        // Of a rest that only rounding has left, nothing.
        if missing < 1e-6 { Duration::ZERO } else { Duration::from_secs_f64(missing / limit.a_second) }
    }
}

/// Whoever has an address of IPv6 has 2^64 of them.
fn told_apart(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(allowance: &Allowance, peers: impl Iterator<Item = IpAddr>, cost: u32) -> usize {
        peers.filter(|peer| allowance.take(Some(*peer), cost).is_ok()).count()
    }

    fn v4(number: usize) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number as u32).into()
    }

    #[tokio::test(start_paused = true)]
    async fn one_guesser_has_his_share_and_all_have_theirs() {
        let allowance = Allowance::new();
        assert_eq!(runs(&allowance, (0..100).map(|_| v4(1)), 10), 4);
        assert_eq!(allowance.take(Some(v4(1)), 10), Err(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(runs(&allowance, (0..100).map(|_| v4(1)), 10), 4);
        assert_eq!(runs(&allowance, (0..100).map(|number| v4(2 + number)), 10), 12);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(runs(&allowance, (0..100).map(|number| v4(200 + number)), 10), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_is_had_less_often() {
        let allowance = Allowance::new();
        // More than anybody has at a time: one is had, and paid for afterwards.
        assert_eq!(allowance.take(Some(v4(1)), 16), Ok(()));
        assert_eq!(allowance.take(Some(v4(2)), 16), Err(Duration::from_secs(64)));
        tokio::time::advance(Duration::from_secs(64)).await;
        assert_eq!(allowance.take(Some(v4(2)), 16), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_take_bounded_memory_and_a_network_of_ipv6_is_one_peer() {
        let allowance = Allowance::new();
        runs(&allowance, (0..3 * MOST_PEERS).map(v4), 10);
        assert!(allowance.0.lock().unwrap().each.len() <= MOST_PEERS + 1);
        let allowance = Allowance::new();
        let of_one = (1..100_u16).map(|host| [0x2001, 0xdb8, 0, 1, 0, 0, 0, host].into());
        assert_eq!(runs(&allowance, of_one, 10), 4);
    }
}
