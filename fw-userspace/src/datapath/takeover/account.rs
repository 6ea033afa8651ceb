//! What a load says of its takeover: what it took over and by what knowledge, and what it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fw_common::packet::protocol;

use super::MOST_ANSWERS;
use super::sockets::Connected;
use crate::report::{ProtocolName, TakenOver};

/// How the kernel knows of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knowledge {
    /// There is a socket.
    Sockets,
    /// Its own connection tracking.
    Tracking,
    /// There is none, only whom it may be with: an answer that may come.
    Answers,
}

impl Knowledge {
    /// As printed.
    const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Tracking => "connection_tracking",
            Self::Answers => "expected_answers",
        }
    }
}

/// Who has a flow, and how it is known. Of this host where there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) knowledge: Knowledge,
    pub(super) instance: Option<String>,
    pub(super) protocol: u8,
}

/// What has become of all of them.
#[derive(Debug, Default)]
pub(super) struct Account {
    taken: BTreeMap<Source, u64>,
    no_room: u64,
    not_allowed: BTreeMap<Source, (u64, (SocketAddr, SocketAddr))>,
    /// Why there is no list of sockets, by instance.
    no_sockets: BTreeMap<Option<String>, String>,
    /// Why there are none of UDP among them.
    no_udp: BTreeMap<Option<String>, String>,
    /// Why nothing is known of an instance, by device.
    unknown: BTreeMap<String, (String, String)>,
    /// Why the kernel's connection tracking is not known.
    no_tracking: BTreeSet<String>,
    /// Places where an answer is not awaited, since there are too many.
    answers_left: u64,
}

impl Account {
    /// What became entries, and how many of these found no room.
    pub(super) fn take(&mut self, source: Source, entries: u64, lost: u64) {
        // Nobody misses an answer that may never come.
        if source.knowledge != Knowledge::Answers {
            self.no_room += lost;
        }
        if entries > lost {
            *self.taken.entry(source).or_default() += entries - lost;
        }
    }

    /// How many more answers may be awaited.
    pub(super) fn answers_to_go(&self) -> u64 {
        let answers = self.taken.iter().filter(|(source, _)| source.knowledge == Knowledge::Answers);
        MOST_ANSWERS.saturating_sub(answers.map(|(_, count)| count).sum())
    }

    pub(super) fn leave_answer(&mut self) {
        self.answers_left += 1;
    }

    /// What the rules drop. An answer that they do not let a program ask for is nothing to speak of.
    pub(super) fn refuse(&mut self, source: Source, flow: &Connected) {
        if source.knowledge != Knowledge::Answers {
            let (count, _) = self.not_allowed.entry(source).or_insert((0, (flow.local, flow.remote)));
            *count += 1;
        }
    }

    pub(super) fn without_sockets(&mut self, instance: Option<String>, why: String) {
        self.no_sockets.insert(instance, why);
    }

    pub(super) fn without_udp(&mut self, instance: Option<String>, why: String) {
        self.no_udp.insert(instance, why);
    }

    pub(super) fn without_tracking(&mut self, why: String) {
        self.no_tracking.insert(why);
    }

    pub(super) fn without_instance(&mut self, device: &str, instance: &str, why: &str) {
        self.unknown.insert(device.to_owned(), (instance.to_owned(), why.to_owned()));
    }

    /// How many connections have become entries.
    pub(super) fn connections(&self) -> u64 {
        let taken = self.taken.iter().filter(|(source, _)| source.knowledge != Knowledge::Answers);
        taken.map(|(_, count)| count).sum()
    }

    /// All that has become entries.
    pub(super) fn report(&self) -> Vec<TakenOver> {
        let line = |(source, entries): (&Source, &u64)| TakenOver {
            knowledge: source.knowledge.name(),
            instance: source.instance.clone(),
            protocol: ProtocolName(source.protocol),
            entries: *entries,
        };
        self.taken.iter().map(line).collect()
    }

    /// What is worth knowing of those that have not.
    pub(super) fn notes(&self, conntrack_max: u32, adopt_s: u64) -> Vec<String> {
        let mut notes = Vec::new();
        let instead = match adopt_s {
            0 => "they are cut, as \"adopt_seconds\" is 0".to_owned(),
            _ => format!("their segments are for {adopt_s} s, where the rules allow them"),
        };
        for (instance, why) in &self.no_sockets {
            let whose = whose(instance.as_deref());
            notes.push(format!(
                "established connections {whose} were not taken over, since the kernel does not list its sockets: \
                 {why}; {instead}"
            ));
        }
        for (instance, why) in &self.no_udp {
            let whose = whose(instance.as_deref());
            notes.push(format!(
                "UDP flows {whose} were not taken over, since the kernel does not list them: {why}"
            ));
        }
        if let Some((device, (instance, why))) = self.unknown.first_key_value() {
            let others = match self.unknown.len() {
                1 => String::new(),
                many => format!(", nor those behind {} other devices", many - 1),
            };
            notes.push(format!(
                "connections of the instance {instance:?} behind {device:?} are not known: {why}{others}; {instead}"
            ));
        }
        for why in &self.no_tracking {
            notes.push(format!(
                "flows that this host forwards were not taken over, since the kernel's connection tracking does not list \
                 them: {why}"
            ));
        }
        if self.no_room > 0 {
            notes.push(format!(
                "the table of connections is full: {} that the rules allow {} not taken over; raise \"conntrack_max\", \
                 now {conntrack_max}",
                counted(self.no_room, "connection"),
                if self.no_room == 1 { "was" } else { "were" },
            ));
        }
        for (source, (count, (local, remote))) in &self.not_allowed {
            let kind = if source.protocol == protocol::TCP { "established connection" } else { "UDP flow" };
            let whose = match (source.knowledge, &source.instance) {
                (Knowledge::Tracking, None) => "that this host tracks".to_owned(),
                (_, instance) => whose(instance.as_deref()),
            };
            notes.push(format!(
                "the rules do not allow {} {whose}: {local} with {remote}{}",
                counted(*count, kind),
                if *count == 1 { "" } else { " and others" },
            ));
        }
        if self.answers_left > 0 {
            notes.push(format!(
                "answers to questions that may be under way are awaited at {MOST_ANSWERS} places, {} are left out",
                self.answers_left
            ));
        }
        notes
    }
}

fn whose(instance: Option<&str>) -> String {
    instance.map_or_else(|| "of this host".to_owned(), |name| format!("of the instance {name:?}"))
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
