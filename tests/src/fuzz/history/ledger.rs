//! What must hold after each frame of a history, whatever came before.
//!
//! It knows no rules and follows no connection by itself: it compares the connections before and after, and remembers
//! which directions of each were let pass.

use std::collections::HashMap;

use fw_common::conntrack::{Class, Connection, tick};
use fw_common::fragment::FragmentKey;
use fw_common::frame::Link;
use fw_common::limits::FRAGMENT_SECONDS;
use fw_common::memory::SliceFrame;
use fw_common::packet::Fragment;
use fw_common::related::{Subject, SubjectKind};
use fw_common::wire::{self, Parsed};
use fw_common::{Decision, Direction, FlowKey, Reason, Verdict};
use fw_userspace::simulate::Simulation;

use super::super::invariants;
use super::rules::{self, MOST_CONNECTIONS, MOST_ORDINARY};

/// The connection table.
type Tracked = HashMap<FlowKey, (Connection, Class)>;

/// The connection table of a host.
fn tracked(host: &Simulation) -> Tracked {
    let connections = host.connections();
    let count = connections.len();
    let tracked: Tracked =
        connections.into_iter().map(|(key, connection, class)| (key, (connection, class))).collect();
    assert_eq!(tracked.len(), count, "half-open and confirmed at once");
    tracked
}

/// Which directions of a connection have passed since it was made.
#[derive(Clone, Copy, Default)]
struct Passed {
    directions: u8,
}

/// What was decided about a first fragment.
struct First {
    at_ns: u64,
    load: u32,
    reason: Reason,
    /// In units of 8 bytes.
    end: u16,
}

pub(super) struct Ledger {
    /// After the frame before; neither waiting nor loading changes it.
    tracked: Tracked,
    rules: usize,
    loads: u32,
    passed: HashMap<FlowKey, Passed>,
    fragments: HashMap<FragmentKey, First>,
}

/// What a frame is about.
struct About {
    subject: Subject,
    fragment: Fragment,
    fragment_key: FragmentKey,
    /// Of a later fragment where it begins, of a first one where it ends.
    fragment_offset: u16,
}

impl Ledger {
    pub(super) fn new(rules: u8) -> Self {
        Self {
            tracked: Tracked::new(),
            rules: rules::which(rules),
            loads: 0,
            passed: HashMap::new(),
            fragments: HashMap::new(),
        }
    }

    /// Other rules are in force.
    pub(super) fn loaded(&mut self, rules: u8) {
        self.rules = rules::which(rules);
        self.loads += 1;
    }

    /// Panics if a frame did what none may do.
    pub(super) fn check(
        &mut self,
        host: &Simulation,
        frame: &[u8],
        direction: Direction,
        decision: Decision,
    ) {
        let before = &std::mem::take(&mut self.tracked);
        let after = tracked(host);
        let now_ns = host.now_ns();
        assert_eq!(decision.direction, direction);
        invariants::decision(&decision, host.compiled());
        let about = about(frame, direction, decision.zone);
        if self.rules == rules::CLOSED {
            let known = matches!(
                decision.reason,
                Reason::Established
                    | Reason::OneSided
                    | Reason::OutOfWindow
                    | Reason::Related
                    | Reason::Unfiltered
            );
            let drops = decision.reason.verdict() == Verdict::Drop;
            assert!(
                drops || known || invariants::is_always(decision.reason),
                "nothing is allowed: {decision:?}"
            );
        }
        let key = about.as_ref().map(|about| about.subject.key);
        changes_are_its_own(before, &after, key, now_ns, decision);
        if let Some(about) = &about {
            follows_its_first(self, about, now_ns, decision);
        }
        if !matches!(about, Some(About { fragment: Fragment::Later { .. }, .. })) {
            comes_of_a_live_connection(before, &after, about.as_ref(), now_ns, decision);
        }
        for (key, (connection, _)) in &after {
            is_sound(connection, now_ns).unwrap_or_else(|what| panic!("{what}: {key:?} {connection:?}"));
        }
        self.both_directions_confirm(before, &after, key, decision);
        there_is_room(before, &after);
        self.tracked = after;
    }

    /// A confirmed connection was seen in both directions.
    fn both_directions_confirm(
        &mut self,
        before: &Tracked,
        after: &Tracked,
        key: Option<FlowKey>,
        decision: Decision,
    ) {
        self.passed.retain(|key, _| after.contains_key(key));
        let Some((key, (connection, class))) = key.and_then(|key| Some((key, after.get(&key)?))) else {
            return;
        };
        let old = before.get(&key);
        let passed = self.passed.entry(key).or_default();
        if old.is_none_or(|(old, _)| old.created() != connection.created()) {
            *passed = Passed::default();
        }
        if old.map(|(old, _)| old) != Some(connection) {
            passed.directions |= 1 << decision.direction.code();
        }
        assert!(
            !class.is_kept() || passed.directions == 3,
            "confirmed, but nothing came back: {connection:?}"
        );
    }
}

/// Nothing but the frame's own connection changes, and only if it passes; what has expired may go.
fn changes_are_its_own(
    before: &Tracked,
    after: &Tracked,
    own: Option<FlowKey>,
    now_ns: u64,
    decision: Decision,
) {
    for (key, (connection, _)) in before {
        let gone = !after.contains_key(key);
        // A flow to an exempt service that finds no room is judged by the rules, as if it went somewhere else.
        let no_room = decision.reason == Reason::AllowanceExceeded
            || connection.status().flags() & Connection::SERVICE != 0;
        let no_room = no_room && own == Some(*key);
        assert!(!gone || connection.is_expired(now_ns) || no_room, "{decision:?} removed {connection:?}");
    }
    for (key, new) in after {
        if before.get(key) == Some(new) {
            continue;
        }
        let may_change = matches!(
            decision.reason,
            Reason::GroupRule
                | Reason::ExemptService
                | Reason::Established
                | Reason::OneSided
                | Reason::OutOfWindow
                | Reason::Adopted
        );
        assert!(may_change && own == Some(*key), "{decision:?} made {key:?} {new:?}");
    }
}

/// `established`, `one_sided`, `out_of_window` and `related` are the words for a connection that was there and had not expired.
fn comes_of_a_live_connection(
    before: &Tracked,
    after: &Tracked,
    about: Option<&About>,
    now_ns: u64,
    decision: Decision,
) {
    let kind = match decision.reason {
        Reason::Established | Reason::OneSided | Reason::OutOfWindow => SubjectKind::Own,
        Reason::Related => SubjectKind::Quoted,
        _ => return,
    };
    let about = about.expect("what belongs to a connection is an IP packet");
    assert_eq!(about.subject.kind, kind);
    let known = before.get(&about.subject.key);
    let (connection, _) = known.unwrap_or_else(|| panic!("there was no connection: {decision:?}"));
    assert!(!connection.is_expired(now_ns), "it had expired: {decision:?} {connection:?}");
    assert!(after.contains_key(&about.subject.key), "it has gone: {decision:?}");
}

/// A later fragment has the reason of its first, for a while and as long as the same rules are in force.
fn follows_its_first(ledger: &mut Ledger, about: &About, now_ns: u64, decision: Decision) {
    match about.fragment {
        Fragment::Whole => {}
        Fragment::First { .. } => {
            let end = about.fragment_offset;
            let first = First { at_ns: now_ns, load: ledger.loads, reason: decision.reason, end };
            ledger.fragments.insert(about.fragment_key, first);
        }
        Fragment::Later { .. } => {
            let limit_ns = u64::from(FRAGMENT_SECONDS) * 1_000_000_000;
            let first = ledger.fragments.get(&about.fragment_key);
            let first = first.filter(|first| first.load == ledger.loads && now_ns - first.at_ns <= limit_ns);
            let reason = decision.reason;
            match first {
                Some(first) if about.fragment_offset < first.end => {
                    assert_eq!(
                        reason,
                        Reason::FragmentOverlapsHeader,
                        "a later fragment that overlaps its first"
                    );
                }
                Some(first) => assert_eq!(reason, first.reason, "a later fragment"),
                // Whether it passes alone is a matter of rules.
                None => assert!(
                    reason == Reason::FragmentWithoutFirst || reason.verdict() == Verdict::Pass,
                    "a later fragment without its first: {reason:?}"
                ),
            }
        }
    }
}

fn there_is_room(before: &Tracked, after: &Tracked) {
    let confirmed = |tracked: &Tracked| tracked.values().filter(|(_, class)| class.is_kept()).count();
    let count = confirmed(after);
    assert!(count <= MOST_CONNECTIONS, "{count} confirmed connections");
    // Whoever is not admitted by a reserved rule finds the table full earlier.
    let new = after.iter().filter(|(key, (_, class))| {
        class.is_kept() && before.get(key).is_none_or(|(_, class)| !class.is_kept())
    });
    for (_, (connection, _)) in new {
        let reserved = connection.status().flags() & Connection::RESERVED != 0;
        assert!(
            reserved || count <= MOST_ORDINARY,
            "{count} confirmed connections, the last: {connection:?}"
        );
    }
}

fn is_sound(connection: &Connection, now_ns: u64) -> Result<(), &'static str> {
    let status = connection.status();
    let what = if !(connection.created() <= status.last_seen() && status.last_seen() <= tick(now_ns)) {
        "times out of order"
    } else if !(1..=432_000).contains(&status.timeout_s()) {
        "no such timeout"
    } else if connection.packets() == 0 || connection.bytes() == 0 {
        "nothing was counted"
    } else {
        return Ok(());
    };
    Err(what)
}

/// `None` for what is no IP packet, or none that can be parsed.
fn about(bytes: &[u8], direction: Direction, zone: u32) -> Option<About> {
    let frame = SliceFrame::new(bytes);
    let mut room = wire::Room::EMPTY;
    if wire::parse(&frame, Link::Ethernet { tags: 0 }, &mut room) != Ok(Parsed::Ip) {
        return None;
    }
    let mut subject = Subject::EMPTY;
    subject.find(&frame, &room.packet, direction);
    subject.key.zone = zone;
    let fragment = room.packet.fragment;
    let fragment_key = FragmentKey::of(&room.packet, zone, direction);
    Some(About { subject, fragment, fragment_offset: room.packet.fragment_offset, fragment_key })
}
