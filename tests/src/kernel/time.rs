//! Time for the bytecode: its clock is nobody's to move, so what it remembers is made older.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use aya::maps::{HashMap, MapData};
use fw_common::FlowKey;
use fw_common::conntrack::Connection;
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::limits::FRAGMENT_SECONDS;

use super::{CONNECTION_MAPS, Kernel, key_bytes};

const NS_PER_S: u64 = 1_000_000_000;

/// Connections that would be older than this machine, by map and key.
pub(super) type Aged = BTreeMap<(&'static str, Vec<u8>), Shortened>;

/// What such a connection has, instead of the rest of its age.
pub(super) struct Shortened {
    last_seen_ns: u64,
    from_s: u32,
    to_s: u32,
}

/// `CLOCK_MONOTONIC`, which the bytecode goes by.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * NS_PER_S + now.tv_nsec as u64
}

impl Kernel {
    /// Lets time pass. Where the machine has not been up for so long, what is missing is taken from a connection's
    /// idle limit, until a packet refreshes it.
    pub fn wait(&mut self, seconds: u64) -> Result<()> {
        for name in CONNECTION_MAPS {
            for (key, mut connection) in self.entries(name)? {
                let place = (name, key_bytes(&key));
                let from_s = self.idle_limit(&place, &connection);
                let possible_s = seconds.min(connection.last_seen_ns / NS_PER_S);
                let missing_s = u32::try_from(seconds - possible_s).unwrap_or(u32::MAX);
                connection.last_seen_ns -= possible_s * NS_PER_S;
                connection.timeout_s = connection.timeout_s.saturating_sub(missing_s);
                if connection.timeout_s != from_s {
                    let Connection { last_seen_ns, timeout_s: to_s, .. } = connection;
                    self.aged.insert(place, Shortened { last_seen_ns, from_s, to_s });
                }
                self.put(name, &key, &connection)?;
            }
        }
        self.age_datagrams(seconds)
    }

    fn age_datagrams(&mut self, seconds: u64) -> Result<()> {
        let mut map: HashMap<&mut MapData, FragmentKey, Datagram> = self.map("DATAGRAMS")?.try_into()?;
        let entries: Vec<(FragmentKey, Datagram)> = map.iter().collect::<std::result::Result<_, _>>()?;
        for (key, mut datagram) in entries {
            match datagram.judged_ns.checked_sub(seconds.saturating_mul(NS_PER_S)) {
                Some(judged_ns) => {
                    datagram.judged_ns = judged_ns;
                    map.insert(key, datagram, 0)?;
                }
                None if seconds > u64::from(FRAGMENT_SECONDS) => map.remove(&key)?,
                None => {
                    bail!("this machine has been up for less than {seconds} s, fragments cannot be older")
                }
            }
        }
        Ok(())
    }

    /// The limit that a connection has, though it may have a shorter one just now.
    pub(super) fn idle_limit(&self, place: &(&'static str, Vec<u8>), connection: &Connection) -> u32 {
        self.aged.get(place).map_or(connection.timeout_s, |shortened| shortened.from_s)
    }

    /// Connections that a packet has refreshed get their idle limit back.
    pub(super) fn give_time_back(&mut self) -> Result<()> {
        if self.aged.is_empty() {
            return Ok(());
        }
        let aged = std::mem::take(&mut self.aged);
        for name in CONNECTION_MAPS {
            for (key, mut connection) in self.entries(name)? {
                let place = (name, key_bytes(&key));
                let Some(shortened) = aged.get(&place) else { continue };
                let Shortened { last_seen_ns, from_s, to_s } = *shortened;
                if connection.last_seen_ns == last_seen_ns {
                    self.aged.insert(place, Shortened { last_seen_ns, from_s, to_s });
                } else if connection.timeout_s == to_s {
                    // Else another state has set another limit.
                    connection.timeout_s = from_s;
                    self.put(name, &key, &connection)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, name: &str, key: &FlowKey, connection: &Connection) -> Result<()> {
        let mut map: HashMap<&mut MapData, FlowKey, Connection> = self.map(name)?.try_into()?;
        Ok(map.insert(key, connection, 0)?)
    }
}
