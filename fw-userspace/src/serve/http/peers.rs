//! Who is connected, for how long each has kept us waiting, and who gives way when there are too many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::Limits;
use crate::metrics::{Closed, Daemon};

/// An answer of which something was taken so lately is no reason to close its connection.
const LATELY: Duration = Duration::from_secs(1);

/// What a connection is at.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// It has been accepted, or its last answer is taken.
    Silent { since: Instant },
    /// A part of a request has come.
    Asking { since: Instant },
    /// Its answer is being made.
    Waiting,
    /// A part of the answer has been written.
    Answered { since: Instant, moved: Instant },
}

impl Phase {
    /// Why it has had its time, if it has.
    fn overdue(self, limits: &Limits, now: Instant) -> Option<Closed> {
        let is_over = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        match self {
            Self::Silent { since } => is_over(since, limits.idle).then_some(Closed::Idle),
            Self::Asking { since } => is_over(since, limits.request).then_some(Closed::SlowRequest),
            Self::Waiting => None,
            Self::Answered { since, moved } => (is_over(since, limits.answer)
                || is_over(moved, limits.stalled))
            .then_some(Closed::SlowReader),
        }
    }

    /// Since when it has nothing to show, if it may be closed for another one.
    fn useless_since(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Silent { since } | Self::Asking { since } => Some(since),
            Self::Waiting => None,
            Self::Answered { moved, .. } => (now.saturating_duration_since(moved) > LATELY).then_some(moved),
        }
    }
}

/// One connection.
pub(super) struct Peer {
    number: u64,
    name: String,
    address: Option<IpAddr>,
    phase: Mutex<Phase>,
    cut: Mutex<Option<Closed>>,
    is_cut: Notify,
}

impl Peer {
    fn new(number: u64, name: String, address: Option<IpAddr>) -> Self {
        Self {
            number,
            name,
            address,
            phase: Mutex::new(Phase::Silent { since: Instant::now() }),
            cut: Mutex::new(None),
            is_cut: Notify::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `None` of a local process.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Bytes have come.
    pub(super) fn has_sent(&self) {
        self.change(|phase| match phase {
            Phase::Silent { .. } => Phase::Asking { since: Instant::now() },
            other => other,
        });
    }

    /// A request has come as a whole.
    pub(super) fn asked(&self) {
        self.change(|_| Phase::Waiting);
    }

    /// Bytes of an answer are there to be taken, and some of them were taken or not.
    pub(super) fn is_answered(&self, moved: bool) {
        let now = Instant::now();
        self.change(|phase| match phase {
            Phase::Answered { since, .. } if moved => Phase::Answered { since, moved: now },
            answered @ Phase::Answered { .. } => answered,
            _ => Phase::Answered { since: now, moved: now },
        });
    }

    /// The whole answer is.
    pub(super) fn has_taken_all(&self) {
        self.change(|phase| match phase {
            Phase::Answered { .. } => Phase::Silent { since: Instant::now() },
            other => other,
        });
    }

    /// Returns when it is to be closed.
    pub(super) async fn is_cut(&self) -> Closed {
        loop {
            if let Some(why) = *locked(&self.cut) {
                return why;
            }
            self.is_cut.notified().await;
        }
    }

    fn cut(&self, why: Closed) {
        locked(&self.cut).get_or_insert(why);
        self.is_cut.notify_one();
    }

    fn phase(&self) -> Phase {
        *locked(&self.phase)
    }

    fn change(&self, to: impl FnOnce(Phase) -> Phase) {
        let mut phase = locked(&self.phase);
        *phase = to(*phase);
    }
}

/// All connections.
pub(super) struct Peers {
    limits: Limits,
    daemon: Arc<Daemon>,
    next: AtomicU64,
    /// Those that were cut are no longer in it.
    list: Mutex<BTreeMap<u64, Arc<Peer>>>,
}

impl Peers {
    pub(super) fn new(limits: Limits, daemon: Arc<Daemon>) -> Arc<Self> {
        Arc::new(Self { limits, daemon, next: AtomicU64::new(0), list: Mutex::default() })
    }

    /// A place for a new connection, or `None` where all others are at work.
    pub(super) fn admit(&self, name: String, address: Option<IpAddr>) -> Option<Arc<Peer>> {
        if locked(&self.list).len() >= self.limits.connections && !self.evict() {
            return None;
        }
        let peer = Arc::new(Peer::new(self.next.fetch_add(1, Ordering::Relaxed), name, address));
        let mut list = locked(&self.list);
        list.insert(peer.number, Arc::clone(&peer));
        self.daemon.open(list.len());
        Some(peer)
    }

    pub(super) fn remove(&self, peer: &Peer) {
        let mut list = locked(&self.list);
        list.remove(&peer.number);
        self.daemon.open(list.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        locked(&self.list).is_empty()
    }

    /// Closes the one that has moved nothing for the longest; whether there was one.
    pub(super) fn evict(&self) -> bool {
        let now = Instant::now();
        let mut list = locked(&self.list);
        let useless = list.values().filter_map(|peer| Some((peer.phase().useless_since(now)?, peer.number)));
        let Some((_, number)) = useless.min() else { return false };
        if let Some(peer) = list.remove(&number) {
            peer.cut(Closed::Evicted);
        }
        true
    }

    /// Closes those that have had their time.
    pub(super) fn cut_overdue(&self) {
        self.cut_those(|phase, now| phase.overdue(&self.limits, now));
    }

    /// Closes those that wait for no answer.
    pub(super) fn cut_silent(&self) {
        self.cut_those(|phase, _| matches!(phase, Phase::Silent { .. }).then_some(Closed::Ended));
    }

    fn cut_those(&self, why: impl Fn(Phase, Instant) -> Option<Closed>) {
        let now = Instant::now();
        locked(&self.list).retain(|_, peer| match why(peer.phase(), now) {
            Some(why) => {
                peer.cut(why);
                false
            }
            None => true,
        });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(connections: usize) -> Arc<Peers> {
        Peers::new(Limits { connections, ..Limits::default() }, Arc::new(Daemon::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_has_been_useless_longest_gives_way_and_none_at_work_does() {
        let peers = peers(3);
        let admit = |name: &str| peers.admit(name.to_owned(), None);
        let [a, b, c] = ["a", "b", "c"].map(|name| admit(name).unwrap());
        tokio::time::advance(Duration::from_secs(2)).await;
        a.asked();
        c.has_sent();
        // b has said nothing; then c has, but later.
        let d = admit("d").unwrap();
        assert_eq!(b.is_cut().await, Closed::Evicted);
        let e = admit("e").unwrap();
        assert_eq!(c.is_cut().await, Closed::Evicted);
        d.asked();
        e.asked();
        e.is_answered(true);
        assert!(admit("f").is_none());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(admit("g").is_some());
        assert_eq!(e.is_cut().await, Closed::Evicted);
        // Nobody else has been cut.
        assert!(locked(&a.cut).is_none() && locked(&d.cut).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn everything_has_its_time() {
        let peers = peers(10);
        let admit = |name: &str| peers.admit(name.to_owned(), None).unwrap();
        let [idle, asking, waiting, stalled, slow] = ["i", "a", "w", "st", "sl"].map(admit);
        asking.has_sent();
        waiting.asked();
        stalled.is_answered(true);
        slow.is_answered(true);
        let mut seconds = BTreeMap::new();
        for second in 1..=200 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // More bytes of a request give no more time; more of an answer only so much.
            asking.has_sent();
            slow.is_answered(true);
            stalled.is_answered(false);
            peers.cut_overdue();
            for peer in [&idle, &asking, &waiting, &stalled, &slow] {
                if let Some(why) = *locked(&peer.cut) {
                    seconds.entry(peer.name.clone()).or_insert((second, why));
                }
            }
        }
        let expected = [
            ("a", (11, Closed::SlowRequest)),
            ("i", (121, Closed::Idle)),
            ("sl", (61, Closed::SlowReader)),
            ("st", (11, Closed::SlowReader)),
        ];
        assert_eq!(seconds, expected.map(|(name, cut)| (name.to_owned(), cut)).into());
    }
}
