//! The rules of this part, for fwctl and for nftables: what is asked for is a tracked connection, or an open one.

use anyhow::Result;
use fw_tests::netns::Rig;
use fw_tests::workload;
use fw_userspace::model::Policy;
use serde_json::json;

use super::frames::{DATAGRAM_PORT, OPEN_PORT, SENDERS, TRACKED_PORT};
use crate::sets::SERVER;

/// Tracked as well, for the connections of real sockets.
pub(super) const SOCKET_PORT: u16 = TRACKED_PORT + 1;
/// The hosts' own networks.
const HOSTS: [&str; 2] = ["10.77.1.0/24", "fd77:1::/64"];

/// A rules file for the devices of the server, and the same read.
pub(super) fn ours(mode: &str, max: u32) -> Result<(Vec<u8>, Policy)> {
    let from: Vec<&str> = SENDERS.into_iter().chain(HOSTS).collect();
    let file = json!({
        "version": 1,
        "settings": { "conntrack_max": max, "adopt_seconds": 0 },
        "security_groups": { "server": {
            "ingress": [
                { "id": "tracked", "protocol": "tcp", "from_port": TRACKED_PORT, "to_port": SOCKET_PORT,
                    "cidr_blocks": from },
                { "id": "datagrams", "protocol": "udp", "from_port": DATAGRAM_PORT, "to_port": DATAGRAM_PORT,
                    "cidr_blocks": from },
                { "id": "open", "protocol": "tcp", "from_port": OPEN_PORT, "to_port": OPEN_PORT,
                    "cidr_blocks": ["0.0.0.0/0", "::/0"] },
            ],
            "egress": [{ "id": "all", "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] }],
        } },
        "interfaces": { "server": {
            "addresses": SERVER, "security_groups": ["server"], "device": "eth*", "mode": mode,
        } },
    });
    let source = file.to_string().into_bytes();
    let policy = workload::policy(&source)?;
    Ok((source, policy))
}

/// The same for nftables, which tracks the open port too.
fn nft() -> String {
    let [ipv4, ipv6] = [0, 1].map(|family| format!("{}, {}", SENDERS[family], HOSTS[family]));
    format!(
        "table inet bench {{
chain judge {{
type filter hook input priority 0; policy drop;
ct state established,related accept
ct state new ip saddr {{ {ipv4} }} tcp dport {TRACKED_PORT}-{SOCKET_PORT} accept
ct state new ip6 saddr {{ {ipv6} }} tcp dport {TRACKED_PORT}-{SOCKET_PORT} accept
ct state new ip saddr {{ {ipv4} }} udp dport {DATAGRAM_PORT} accept
ct state new ip6 saddr {{ {ipv6} }} udp dport {DATAGRAM_PORT} accept
ct state new tcp dport {OPEN_PORT} accept
icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
}}
}}
"
    )
}

/// Puts those in force on the server.
pub(super) fn load_nft(rig: &Rig) -> Result<()> {
    crate::nft::put(&rig.server, &nft())?;
    // The third segments of the handshakes acknowledge any number, not the cookie.
    rig.server.sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1")?;
    // And none opens a connection, as with fwctl.
    rig.server.sysctl("netfilter/nf_conntrack_tcp_loose", "0")
}
