//! Who is attacked: a server that filters its own `eth0`, and on the same wire its client, which strangers pass off as
//! being anybody.

use anyhow::{Result, ensure};
use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Rig};
use fw_tests::nft;
use fw_tests::packet::ethertype;
use fw_tests::traffic::{Capture, Torrent, listen};
use serde_json::{Value, json};

/// Opened by clients, and by the server.
pub(crate) const LIVE_PORTS: [u16; 2] = [5201, 5202];
/// Open for strangers.
pub(crate) const WEB_PORT: u16 = 443;
/// Open for strangers' datagrams.
pub(crate) const DATAGRAM_PORT: u16 = 53;
/// Of the rule with `reserved`.
pub(crate) const RESERVED_PORT: u16 = 22;
/// Strangers that the rules admit to what is open, a /15.
pub(crate) const ADMITTED: u32 = 0xc612_0000;
/// Strangers that no rule names, a /15 too.
pub(crate) const DENIED: u32 = 0x6440_0000;
/// Hosts far away, played by hand: those that the reserved rule admits, and those that the server connects to.
pub(crate) const FAR: [[u8; 3]; 2] = [[10, 78, 1], [10, 78, 2]];
/// The address that [`fw_tests::packet`] sends to: frames to another would be others' to the stack.
const MAC: &str = "02:00:00:00:00:02";
const HOSTS: [&str; 2] = ["10.77.0.0/16", "fd77::/16"];
const STRANGERS: &str = "198.18.0.0/15";

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// fwctl at XDP.
    Xdp,
    /// fwctl at TC.
    Tc,
    /// nftables with conntrack.
    Nft,
}

impl Filter {
    /// As tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Xdp => "fwctl, XDP",
            Self::Tc => "fwctl, TC",
            Self::Nft => "nft inet, ct",
        }
    }
}

/// Both hosts, with the filter in force on the server.
pub(crate) struct Target {
    /// The hosts.
    pub(crate) rig: Rig,
    /// Who judges.
    pub(crate) filter: Filter,
    bpffs: BpffsDir,
}

impl Target {
    /// With the default table.
    pub(crate) fn new(filter: Filter) -> Result<Self> {
        Self::with_table(filter, None)
    }

    /// With a table of fwctl for so many connections. That of nftables is the machine's, and stays as it is.
    pub(crate) fn with_table(filter: Filter, conntrack_max: Option<u32>) -> Result<Self> {
        let target = Self { rig: Rig::direct()?, filter, bpffs: BpffsDir::new()? };
        let Rig { client, server, .. } = &target.rig;
        server.ip(&format!("link set eth0 address {MAC}"))?;
        // What the server answers to strangers ends at the client, which is none of them.
        server.route("default", &client.v4.to_string())?;
        // Nothing is kept of a sender before its third segment: strangers are to fill the filter's table, not the server's.
        server.sysctl("ipv4/tcp_syncookies", "2")?;
        for host in [client, server] {
            host.sysctl("ipv4/ip_local_port_range", "10000 65000")?;
        }
        match filter {
            Filter::Xdp => drop(target.fwctl()?.load(&rules("xdp", conntrack_max))?),
            Filter::Tc => drop(target.fwctl()?.load(&rules("tc", conntrack_max))?),
            Filter::Nft => {
                nft::put(server, &nft_rules())?;
                // As fwctl's `mid_stream`: no other segment than a SYN begins a connection.
                server.sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
            }
        }
        ensure!(server.index("eth0")? > 0, "the server has no device");
        Ok(target)
    }

    /// The server's.
    pub(crate) fn fwctl(&self) -> Result<Fwctl<'_>> {
        Fwctl::new(&self.rig.server.namespace, &self.bpffs)
    }

    /// The way of strangers, and of hosts that are played by hand, to the server.
    pub(crate) fn strangers(&self) -> Result<Torrent> {
        Torrent::open(&self.rig.client, "eth0")
    }

    /// What the server sends to a network of hosts that are played by hand, see [`FAR`].
    pub(crate) fn hears_for(&self, network: [u8; 3]) -> Result<Capture> {
        let capture = listen(&self.rig.client, "eth0", ethertype::IPV4)?;
        capture.only_for(network)?;
        Ok(capture)
    }
}

/// Nothing is open to everybody: all connections are tracked. Nothing but its entry keeps one.
fn rules(mode: &str, conntrack_max: Option<u32>) -> Value {
    let [admins, servers] = FAR.map(|[a, b, c]| format!("{a}.{b}.{c}.0/24"));
    let tcp = |id: &str, port: u16, from: &[&str]| json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": from });
    let mut reserved = tcp("admin", RESERVED_PORT, &[&admins]);
    reserved["reserved"] = true.into();
    let mut settings = json!({ "adopt_seconds": 0 });
    if let Some(max) = conntrack_max {
        settings["conntrack_max"] = max.into();
    }
    json!({
        "version": 1,
        "settings": settings,
        "security_groups": { "server": {
            "ingress": [
                tcp("live", LIVE_PORTS[0], &HOSTS),
                tcp("web", WEB_PORT, &[HOSTS[0], STRANGERS]),
                { "id": "datagrams", "protocol": "udp", "from_port": DATAGRAM_PORT, "to_port": DATAGRAM_PORT,
                    "cidr_blocks": [HOSTS[0], STRANGERS] },
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1,
                    "cidr_blocks": [HOSTS[0], STRANGERS] },
                reserved,
            ],
            "egress": [{ "id": "out", "protocol": "all", "cidr_blocks": [HOSTS[0], HOSTS[1], servers] }],
        } },
        "interfaces": { "server": { "device": "eth0", "mode": mode, "security_groups": ["server"] } },
    })
}

/// The same for nftables.
fn nft_rules() -> String {
    let [admins, _] = FAR.map(|[a, b, c]| format!("{a}.{b}.{c}.0/24"));
    let [hosts, hosts6] = HOSTS;
    let live = LIVE_PORTS[0];
    format!(
        "table inet attacks {{
chain judge {{
type filter hook input priority 0; policy drop;
ct state established,related accept
ip saddr {hosts} tcp dport {live} ct state new accept
ip6 saddr {hosts6} tcp dport {live} ct state new accept
ip saddr {{ {hosts}, {STRANGERS} }} tcp dport {WEB_PORT} ct state new accept
ip saddr {{ {hosts}, {STRANGERS} }} udp dport {DATAGRAM_PORT} ct state new accept
ip saddr {{ {hosts}, {STRANGERS} }} icmp type echo-request ct state new accept
ip saddr {admins} tcp dport {RESERVED_PORT} ct state new accept
icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
}}
}}
"
    )
}
