//! Time that passes although nobody waits: what the kernel's maps remember is made older. Its clock is nobody's to
//! move.
//!
//! The clock starts with the machine, and a machine that has been up for an hour cannot have seen anything a day ago.
//! There an entry goes back to the clock's first second, and what lacks to its age is taken off its timeout; until a
//! packet gives it a new age, which gives it back its timeout as well.

#[cfg(test)]
mod tests;

use std::borrow::BorrowMut;
use std::collections;

use anyhow::Result;
use aya::maps::{HashMap, MapData};
use fw_common::FlowKey;
use fw_common::conntrack::Connection;
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::limits::FRAGMENT_SECONDS;

const NS_PER_S: u64 = 1_000_000_000;

/// What was taken off, by key: a connection may move from one map to another.
#[derive(Debug, Default)]
pub struct Age {
    connections: collections::HashMap<FlowKey, Taken>,
    /// Nanoseconds that a datagram is older than its entry can say.
    datagrams: collections::HashMap<FragmentKey, u64>,
}

/// An entry as it was written, and the seconds that were taken off its timeout.
#[derive(Clone, Copy, Debug)]
struct Taken {
    seconds: u32,
    created_ns: u64,
    last_seen_ns: u64,
    state: u8,
}

impl Age {
    /// Makes every connection of a map older.
    pub fn wait<T: BorrowMut<MapData>>(
        &mut self,
        map: &mut HashMap<T, FlowKey, Connection>,
        seconds: u64,
    ) -> Result<()> {
        let entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
        for (key, mut connection) in entries {
            self.make_older(&key, &mut connection, seconds);
            map.insert(key, connection, 0)?;
        }
        Ok(())
    }

    /// Gives back the timeouts of connections that have seen a packet since. To be called after each packet.
    pub fn settle<T: BorrowMut<MapData>>(&mut self, map: &mut HashMap<T, FlowKey, Connection>) -> Result<()> {
        let keys: Vec<FlowKey> = self.connections.keys().copied().collect();
        for key in keys {
            let Ok(mut connection) = map.get(&key, 0) else { continue };
            if self.give_back(&key, &mut connection) {
                map.insert(key, connection, 0)?;
            }
        }
        Ok(())
    }

    /// Makes every datagram of a map older; one that is over is removed.
    pub fn wait_for_datagrams<T: BorrowMut<MapData>>(
        &mut self,
        map: &mut HashMap<T, FragmentKey, Datagram>,
        seconds: u64,
        now_ns: u64,
    ) -> Result<()> {
        let entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
        for (key, mut datagram) in entries {
            if self.make_datagram_older(&key, &mut datagram, seconds, now_ns) {
                map.insert(key, datagram, 0)?;
            } else {
                map.remove(&key)?;
            }
        }
        Ok(())
    }

    /// The idle seconds after which a connection is over, whatever was taken off them.
    #[must_use]
    pub fn timeout_s(&self, key: &FlowKey, connection: &Connection) -> u32 {
        let taken = self.connections.get(key).filter(|taken| taken.is_untouched(connection));
        connection.timeout_s + taken.map_or(0, |taken| taken.seconds)
    }

    fn make_older(&mut self, key: &FlowKey, connection: &mut Connection, seconds: u64) {
        self.give_back(key, connection);
        let age_ns = seconds.saturating_mul(NS_PER_S);
        if let Some(last_seen_ns) = connection.last_seen_ns.checked_sub(age_ns) {
            connection.last_seen_ns = last_seen_ns;
            return;
        }
        let lacks_ns = age_ns - connection.last_seen_ns;
        let lacks_s = lacks_ns.div_ceil(NS_PER_S);
        connection.last_seen_ns = lacks_s.saturating_mul(NS_PER_S).saturating_sub(lacks_ns);
        let left_s = u64::from(connection.timeout_s).saturating_sub(lacks_s) as u32;
        let before = self.connections.get(key).map_or(0, |taken| taken.seconds);
        self.connections.insert(
            *key,
            Taken {
                seconds: before + (connection.timeout_s - left_s),
                created_ns: connection.created_ns,
                last_seen_ns: connection.last_seen_ns,
                state: connection.state,
            },
        );
        connection.timeout_s = left_s;
    }

    /// Whether the entry was changed.
    fn give_back(&mut self, key: &FlowKey, connection: &mut Connection) -> bool {
        let Some(taken) = self.connections.get(key).copied() else { return false };
        if taken.is_untouched(connection) {
            return false;
        }
        self.connections.remove(key);
        // A new state and a new connection have set their timeout themselves.
        let goes_on = taken.created_ns == connection.created_ns && taken.state == connection.state;
        if goes_on {
            connection.timeout_s += taken.seconds;
        }
        goes_on
    }

    /// Whether it is still worth keeping.
    fn make_datagram_older(
        &mut self,
        key: &FragmentKey,
        datagram: &mut Datagram,
        seconds: u64,
        now_ns: u64,
    ) -> bool {
        // The clock's very first nanosecond is no packet's.
        let lacked_ns = if datagram.judged_ns == 0 { self.datagrams.remove(key).unwrap_or(0) } else { 0 };
        let age_ns = seconds.saturating_mul(NS_PER_S).saturating_add(lacked_ns);
        if now_ns.saturating_sub(datagram.judged_ns).saturating_add(age_ns)
            > u64::from(FRAGMENT_SECONDS) * NS_PER_S
        {
            return false;
        }
        if age_ns >= datagram.judged_ns {
            self.datagrams.insert(*key, age_ns - datagram.judged_ns);
        }
        datagram.judged_ns = datagram.judged_ns.saturating_sub(age_ns);
        true
    }
}

impl Taken {
    /// No packet has given the entry another age since it was written.
    fn is_untouched(&self, connection: &Connection) -> bool {
        (self.created_ns, self.last_seen_ns, self.state)
            == (connection.created_ns, connection.last_seen_ns, connection.state)
    }
}

/// `CLOCK_MONOTONIC`, which the programs read too.
#[must_use]
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(NS_PER_S).saturating_add(now.tv_nsec as u64)
}
