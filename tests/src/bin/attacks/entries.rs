//! What a filter keeps of connections, as its own tools tell it.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::target::{Filter, Target};

/// Of TCP.
pub(crate) const ESTABLISHED: &str = "established";

/// A connection of TCP or UDP.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `tcp` or `udp`.
    pub(crate) protocol: String,
    /// The server's end.
    pub(crate) local: SocketAddr,
    /// The other one.
    pub(crate) remote: SocketAddr,
    /// In small letters.
    pub(crate) state: String,
    /// It is kept against all newcomers: `confirmed` or `[ASSURED]`.
    pub(crate) is_kept: bool,
    /// Seconds until it is over, if nothing comes.
    pub(crate) expires: u64,
}

impl Target {
    /// All of them.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        if self.filter != Filter::Nft {
            let lines = self.fwctl()?.connections(&[])?;
            return Ok(lines.iter().filter_map(ours).collect());
        }
        let text = self.conntrack()?;
        let local = [IpAddr::from(self.rig.server.v4), self.rig.server.v6.into()];
        Ok(text.lines().filter_map(|line| theirs(line, local)).collect())
    }

    /// How many of an IPv4 network, of any protocol, are kept and how many are not. The network is what its addresses
    /// begin with.
    pub(crate) fn count(&self, network: &str, cidr: &str) -> Result<[u64; 2]> {
        if self.filter != Filter::Nft {
            let command = ["conntrack", "count", "--json", "--address", cidr];
            let counted = self.fwctl()?.run(command)?.success()?;
            return Ok(["confirmed", "half_open"].map(|key| counted[key].as_u64().unwrap_or(u64::MAX)));
        }
        let (text, source) = (self.conntrack()?, format!(" src={network}"));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(&source)).collect();
        let kept = lines.iter().filter(|line| line.contains(ASSURED)).count();
        Ok([kept as u64, (lines.len() - kept) as u64])
    }

    fn conntrack(&self) -> Result<String> {
        let read = || fs::read_to_string("/proc/thread-self/net/nf_conntrack");
        self.rig.server.run(read).context("the kernel tells no connections of nftables (NF_CONNTRACK_PROCFS)")
    }
}

const ASSURED: &str = "[ASSURED]";

/// A line of `fwctl conntrack list --json`, unless it is of a protocol without ports.
fn ours(line: &Value) -> Option<Entry> {
    let end = |address: &str, port: &str| {
        let address: IpAddr = line[address].as_str()?.parse().ok()?;
        Some(SocketAddr::new(address, u16::try_from(line[port].as_u64()?).ok()?))
    };
    Some(Entry {
        protocol: line["protocol"].as_str()?.to_owned(),
        local: end("local", "local_port")?,
        remote: end("remote", "remote_port")?,
        state: line["state"].as_str()?.to_owned(),
        is_kept: line["class"] == "confirmed",
        expires: line["expires_s"].as_u64()?,
    })
}

/// A line such as `ipv4 2 tcp 6 431999 ESTABLISHED src=A dst=B sport=C dport=D src=… [ASSURED] …`: UDP has no state.
fn theirs(line: &str, local: [IpAddr; 2]) -> Option<Entry> {
    let mut words = line.split_whitespace().skip(2);
    let protocol = words.next()?.to_owned();
    let expires = words.nth(1)?.parse().ok()?;
    let state = words.next().filter(|word| !word.contains('=')).unwrap_or_default().to_lowercase();
    let value = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
    let end = |address: &str, port: &str| {
        Some(SocketAddr::new(value(address)?.parse().ok()?, value(port)?.parse().ok()?))
    };
    let (source, destination) = (end("src=", "sport=")?, end("dst=", "dport=")?);
    let is_outgoing = local.contains(&source.ip());
    let (local, remote) = if is_outgoing { (source, destination) } else { (destination, source) };
    Some(Entry { protocol, local, remote, state, is_kept: line.contains(ASSURED), expires })
}
