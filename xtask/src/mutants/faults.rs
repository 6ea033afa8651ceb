//! The faults: one line each, of the kind that a tired programmer makes.

use std::fs;
use std::path::Path;

/// One deliberate mistake.
pub(super) struct Fault {
    /// From the workspace.
    pub(super) file: &'static str,
    /// Occurs exactly once in the file.
    pub(super) before: &'static str,
    /// What stands there instead.
    pub(super) after: &'static str,
    /// What goes wrong.
    pub(super) says: &'static str,
}

impl Fault {
    /// Whether a word of the command line means it.
    pub(super) fn has(&self, part: &str) -> bool {
        self.says.contains(part) || self.file.contains(part)
    }

    /// Crate and file, without what is the same for all.
    pub(super) fn place(&self) -> String {
        self.file.replace("/src/", "/")
    }

    /// The text of the file with the mistake in it.
    pub(super) fn mutated(&self, tree: &Path) -> Result<String, String> {
        let text = fs::read_to_string(tree.join(self.file))
            .map_err(|error| format!("{}: cannot be read ({error}), for: {}", self.file, self.says))?;
        match text.matches(self.before).count() {
            1 => Ok(text.replace(self.before, self.after)),
            count => Err(format!(
                "{}: {:?} occurs {count} times and not once, for: {}",
                self.file, self.before, self.says
            )),
        }
    }
}

const fn fault(says: &'static str, file: &'static str, before: &'static str, after: &'static str) -> Fault {
    Fault { file, before, after, says }
}

const ACL: &str = "fw-common/src/layers/acl.rs";
const CLASSIFY: &str = "fw-common/src/classify.rs";
const COLUMNS: &str = "fw-userspace/src/compile/columns.rs";
const CONNTRACK: &str = "fw-common/src/conntrack/mod.rs";
const EXEMPT: &str = "fw-common/src/exempt.rs";
const FRAGMENT: &str = "fw-common/src/fragment.rs";
const FRAGMENTS: &str = "fw-common/src/layers/fragments.rs";
const GROUPS: &str = "fw-common/src/layers/groups.rs";
const HANDSHAKE: &str = "fw-common/src/conntrack/tcp/handshake.rs";
const IPV4: &str = "fw-common/src/wire/ipv4.rs";
const IPV6: &str = "fw-common/src/wire/ipv6.rs";
const LAYERS: &str = "fw-common/src/layers/mod.rs";
const PLAIN: &str = "fw-common/src/wire/plain.rs";
const RELATED: &str = "fw-common/src/related.rs";
const ROWS: &str = "fw-userspace/src/compile/rows.rs";
const STATE: &str = "fw-common/src/conntrack/state.rs";
const STREAM: &str = "fw-common/src/conntrack/tcp/stream.rs";
const STATUS: &str = "fw-common/src/conntrack/status.rs";
const TAGS: &str = "fw-common/src/store/tags.rs";
const TRANSPORT: &str = "fw-common/src/wire/transport.rs";

/// All of them, in the order of a packet's way.
pub(super) const FAULTS: &[Fault] = &[
    fault(
        "the last of an IPv4 packet's fragments counts as a usual packet",
        PLAIN,
        "start & IS_FRAGMENT != 0",
        "start & 0x2000 != 0",
    ),
    fault(
        "a usual packet may be longer than its frame",
        PLAIN,
        " || packet.end > frame.len_from(packet.end)",
        "",
    ),
    fault("strict source routing passes", IPV4, " || kind == STRICT_SOURCE_ROUTE {", " {"),
    fault(
        "IPv4-mapped destinations pass",
        IPV6,
        "packet.source.is_mapped() || packet.destination.is_mapped()",
        "packet.source.is_mapped()",
    ),
    fault(
        "an IPv4 packet's second fragment counts as whole",
        IPV4,
        "fragment_offset != 0",
        "fragment_offset > 101",
    ),
    fault("a fragment may start inside the TCP header", TRANSPORT, "offset < TCP_LEN;", "offset < 8;"),
    fault(
        "neighbour discovery passes from beyond a router",
        EXEMPT,
        "133..=137) && packet.hop_limit == 255;",
        "133..=137);",
    ),
    fault(
        "a port pair of IPv4's DHCP relays passes over IPv6 too",
        EXEMPT,
        "(matches!(family, Family::V4) && pair == (server, server))",
        "pair == (server, server)",
    ),
    fault(
        "an instance may act as DHCP server",
        EXEMPT,
        "from_client || (from_server && !port.is_client())",
        "from_client || from_server",
    ),
    fault(
        "a fragment can be exempt",
        EXEMPT,
        "packet.fragment != Fragment::Whole",
        "packet.fragment_offset > 8191",
    ),
    fault(
        "IPv6 addresses are looked up among those of IPv4",
        CLASSIFY,
        "self.root.tree(family)",
        "self.root.tree(Family::V4)",
    ),
    fault(
        "ranges end one port early",
        CLASSIFY,
        "u64::from(key).wrapping_add(0xffff)",
        "u64::from(key).wrapping_add(0x1_0000)",
    ),
    fault(
        "the last port of a range is outside of it",
        CLASSIFY,
        "u64::from(keys >> 16).wrapping_add(1)",
        "u64::from(keys >> 16)",
    ),
    fault(
        "the class behind those that a list knows has the last one's row",
        CLASSIFY,
        "if own < rows.count {",
        "if own <= rows.count {",
    ),
    fault(
        "a reply's rule is sought by the wrong port",
        CLASSIFY,
        "if reply { packet.source_port }",
        "if reply { packet.service }",
    ),
    fault(
        "the last matching rule decides, not the first",
        COLUMNS,
        "covering.peek().map_or(Piece::NO_PLACE, |Reverse((place, _))| *place)",
        "covering.iter().map(|Reverse((place, _))| *place).max().unwrap_or(Piece::NO_PLACE)",
    ),
    fault(
        "one open rule untracks, whatever the other direction allows",
        ROWS,
        "rule.allows() && untracks && piece.is_open",
        "rule.allows() && piece.is_open",
    ),
    fault(
        "an ACL that allows all counts packets of connections that stay inside",
        ACL,
        "first == 0 || first == 169 || first >= 224",
        "first == 0 || first >= 256",
    ),
    fault(
        "the network ACL is skipped where one end is inside",
        ACL,
        "if self.work.done != 0 {",
        "if self.work.done != u32::MAX {",
    ),
    fault(
        "a packet that the network ACL drops opens a connection",
        LAYERS,
        "{ Effect::Commit } else { Effect::Peek };",
        "{ Effect::Commit } else { Effect::Commit };",
    ),
    fault(
        "an outbound packet may have a multicast source",
        LAYERS,
        "matches!(self.direction(), Direction::Ingress) && local.is_multicast",
        "local.is_multicast",
    ),
    fault(
        "every allowed flow is untracked",
        GROUPS,
        "SubjectKind::Own || rule.is_untracked()",
        "SubjectKind::Own || rule.allows()",
    ),
    fault(
        "a segment without ACK is adopted",
        GROUPS,
        "if has_ack && self.tables",
        "if (has_ack || true) && self.tables",
    ),
    fault(
        "connections of one interface serve another",
        GROUPS,
        "subject.key.zone = self.interface.zone();",
        "subject.key.zone = 0;",
    ),
    fault(
        "an expired connection lives on",
        STATUS,
        "wrapping_mul(1_000_000_000)",
        "wrapping_mul(10_000_000_000)",
    ),
    fault(
        "a SYN against the direction of a live connection belongs to it",
        CONNTRACK,
        "if !is_handshake(state) && direction",
        "if is_handshake(state) && direction",
    ),
    fault(
        "a SYN does not reopen a closed connection",
        STATE,
        "matches!(state, State::Closed | State::Reset)",
        "matches!(state, State::Reset)",
    ),
    fault(
        "requests count as replies and replies as requests",
        CONNTRACK,
        "let is_reply = direction.code() != status",
        "let is_reply = direction.code() == status",
    ),
    fault(
        "a RST ends a connection whatever its sequence",
        STREAM,
        "if is_acked || packet.sequence == end {",
        "if true {",
    ),
    fault(
        "a FIN counts whatever its sequence",
        STREAM,
        "let is_next = start == end || behind == end || is_expected;",
        "let is_next = true;",
    ),
    fault(
        "late segments keep a closed connection alive",
        STREAM,
        "if matches!(state, State::Closed) && !is_fin {",
        "if false && !is_fin {",
    ),
    fault(
        "a handshake is done by any acknowledgement",
        HANDSHAKE,
        "if (ack != high && ack != low) || (is_syn",
        "if (is_syn",
    ),
    fault(
        "a segment counts whatever it acknowledges",
        STREAM,
        "start > granted.wrapping_shl(1) || ack > most {",
        "start > granted.wrapping_shl(1) {",
    ),
    fault(
        "what the other side sends is believed after half a minute",
        STREAM,
        "if matches!(direction, Direction::Ingress) {\n            return if is_anchored",
        "if false {\n            return if is_anchored",
    ),
    fault(
        "what has expired makes no room in a full table",
        TAGS,
        "expired & self.taken()",
        "expired & self.taken() & 0",
    ),
    fault(
        "ICMP identifiers do not matter",
        RELATED,
        "key.local_port = packet.identifier;",
        "key.local_port = 0;",
    ),
    fault(
        "an ICMP error's quote is read the wrong way round",
        RELATED,
        "    let quoted = direction.reverse();",
        "    let quoted = direction;",
    ),
    fault(
        "an ICMP error may go to anybody",
        RELATED,
        "if quoted_source != error.destination {",
        "if quoted_source == error.source {",
    ),
    fault(
        "later fragments pass by older rules",
        FRAGMENT,
        "self.generation == generation && now_ns",
        "self.generation <= generation && now_ns",
    ),
    fault(
        "a later fragment may overlap its first",
        FRAGMENT,
        "later.fragment_offset < self.end",
        "self.end == 0",
    ),
    fault(
        "an IPv6 first fragment ends at once",
        IPV6,
        "set_first(id, end.wrapping_sub(at)",
        "set_first(id, end.wrapping_sub(end)",
    ),
    fault(
        "later fragments of TCP pass alone",
        FRAGMENTS,
        "let is_tcp = self.work.room.packet.protocol == protocol::TCP;",
        "let is_tcp = self.work.room.packet.protocol == 0;",
    ),
    fault("later fragments pass alone to foreign addresses", FRAGMENTS, "&& !is_own) {", "&& false) {"),
    fault(
        "over IPv6 the protocol that a later fragment says it has is believed",
        FRAGMENTS,
        "const COLUMNS: u32 = 4;",
        "const COLUMNS: u32 = 0;",
    ),
    fault(
        "later fragments pass alone by whatever rule comes first",
        FRAGMENTS,
        "matches!(link.kind(), Kind::Value) && ",
        "",
    ),
];
