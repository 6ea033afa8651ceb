//! What the commands report, as plain data: the JSON of `--json` is these types, and the tables are drawn from them.
//!
//! Keys are stable: add, never rename.

mod conntrack;
mod event;

use serde::Serialize;

pub use conntrack::{ConnectionCount, ConnectionStatus, Flushed, Holder, Protocol, ProtocolName, RuleName};
pub use event::{PacketEvent, Suppressed, Tuple, verdict_name};

/// What `load`, `attach`, `confirm` and `rollback` did.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Number of the generation now in force.
    pub generation: u32,
    /// Hooks after the load.
    pub hooks: Vec<HookReport>,
    /// Devices named by the rules that do not exist yet.
    pub pending: Vec<PendingDevice>,
    /// Devices that left the rules and are filtered no more (with `--confirm`: after it).
    pub detached: Vec<String>,
    /// Security group rules and ACL entries in force.
    pub rules: usize,
    /// Lines of 64 bytes that this generation takes, in bytes.
    pub policy_bytes: u64,
    /// All maps together, bytes; absent in a dry run.
    pub memory_bytes: Option<u64>,
    /// Milliseconds; absent where nothing was compiled.
    pub compile_ms: Option<f64>,
    /// Milliseconds, compiling included; absent where nothing was compiled.
    pub total_ms: Option<f64>,
    /// Seconds until the kernel goes back to the rules before, unless confirmed.
    pub confirm_within_s: Option<u64>,
    /// Seconds for which connections older than the rules are taken over; 0 for not at all.
    pub adopt_s: u64,
    /// Connections older than the rules that were taken over, by what the kernel knows of them.
    pub taken_over: u64,
    /// Those, and the answers that are awaited, by what knowledge.
    pub taken_over_by: Vec<TakenOver>,
    /// Things worth knowing.
    pub notes: Vec<String>,
}

/// Entries of flows that are older than the rules.
#[derive(Debug, Clone, Serialize)]
pub struct TakenOver {
    /// `sockets`, `connection_tracking` (the kernel's own) or `expected_answers` (to questions that may be under way).
    pub knowledge: &'static str,
    /// The interface whose instance has them; null for this host.
    pub instance: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: ProtocolName,
    /// How many.
    pub entries: u64,
}

/// One program at one hook.
#[derive(Debug, Clone, Serialize)]
pub struct HookReport {
    /// Interface, or subnet for a router's leg.
    pub interface: String,
    /// `interface` or `subnet`.
    pub kind: &'static str,
    /// Device name.
    pub device: String,
    /// Interface index.
    pub ifindex: u32,
    /// `received` or `sent`.
    pub side: &'static str,
    /// `xdp`, `tcx` or `tc`.
    pub hook: &'static str,
    /// Why this hook and no other.
    pub why: String,
    /// Whether the kernel confirms that our program is there.
    pub attached: bool,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
    /// Programs of others that see packets before ours, and may decide about them.
    pub ahead: Vec<String>,
}

/// A device that does not exist yet.
#[derive(Debug, Clone, Serialize)]
pub struct PendingDevice {
    /// Interface or subnet.
    pub interface: String,
    /// As the rules name it.
    pub device: String,
}

/// What `status` says.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Where the state is pinned.
    pub bpffs: String,
    /// Number of the generation in force.
    pub generation: u32,
    /// Seconds since the epoch at which it was loaded.
    pub loaded_at: u64,
    /// Seconds left to confirm it; absent when confirmed.
    pub confirm_within_s: Option<u64>,
    /// The last load was not confirmed in time: the generation before it is in force again.
    pub reverted: bool,
    /// False if it was not confirmed in time and there was none before: everything passes.
    pub in_force: bool,
    /// Hooks, verified against the kernel.
    pub hooks: Vec<HookReport>,
    /// Devices named by the rules that do not exist.
    pub pending: Vec<PendingDevice>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Security group rules and ACL entries.
    pub rules: usize,
    /// Tables and how full they are.
    pub tables: Vec<TableStatus>,
    /// Ethertypes that were dropped.
    pub ethertypes: Vec<EthertypeStatus>,
    /// False if a hook that should be there is not: exit status 1.
    pub healthy: bool,
}

/// One interface of the rules.
#[derive(Debug, Clone, Serialize)]
pub struct InterfaceStatus {
    /// Interface, or subnet for a router's leg.
    pub interface: String,
    /// `interface` or `subnet`.
    pub kind: &'static str,
    /// Devices that carry it.
    pub devices: Vec<String>,
    /// `network` or `instance`.
    pub faces: &'static str,
    /// Whether drops are enforced.
    pub enforce: bool,
    /// Addresses by which rules know it.
    pub addresses: Vec<String>,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Network ACL, if one applies.
    pub network_acl: Option<String>,
}

/// One table.
#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    /// `connections`, `half_open`, `policy_lines`.
    pub table: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Entries that fit.
    pub capacity: u64,
}

/// An ethertype dropped at an interface.
#[derive(Debug, Clone, Serialize)]
pub struct EthertypeStatus {
    /// Interface or subnet.
    pub interface: String,
    /// Like `0x88cc`.
    pub ethertype: String,
    /// Frames.
    pub frames: u64,
}

/// What `stats` says.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Number of the generation in force.
    pub generation: u32,
    /// By interface, direction and reason; zero counters are left out.
    pub reasons: Vec<ReasonStats>,
    /// By rule; all rules in force, in the order of the file.
    pub rules: Vec<RuleStats>,
}

/// One counter of an interface.
#[derive(Debug, Clone, Serialize)]
pub struct ReasonStats {
    /// Interface, or subnet for a router's leg; `-` for devices that are not configured.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// `allow`, `deny` or `would_deny`.
    pub verdict: &'static str,
    /// The layer that decided.
    pub layer: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The reason in a sentence.
    pub says: &'static str,
    /// Wire packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The counter of one rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleStats {
    /// `security_group` or `network_acl`.
    pub kind: &'static str,
    /// The group's or the ACL's name.
    pub id: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The rule's id, or the entry's number (`*` for the implicit last one).
    pub rule: String,
    /// As written.
    pub description: Option<String>,
    /// Of a group's rule first packets of connections, and packets that no connection answered for; of an ACL's entry
    /// every packet that it denies, or lets on and that passes.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}
