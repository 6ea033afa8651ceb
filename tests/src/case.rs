//! The cases of `tests/cases/*.toml`: a sentence, the rules, the history, and what must come of each packet.
//!
//! It loads and checks them, and never judges a packet: that is the runners' work. The format is described in
//! `tests/cases/README.md`; every mistake in every file is reported in one run, with file and line.

mod file;
mod read;
mod steps;
#[cfg(test)]
mod tests;
mod value;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

pub use value::merge;

/// One case, its rules complete.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file it stands in.
    pub file: PathBuf,
    /// The line of its `[[case]]`.
    pub line: usize,
    /// Unique over all files.
    pub name: String,
    /// What holds, as a sentence.
    pub says: String,
    /// How we know.
    pub basis: Basis,
    /// The whole rules file.
    pub rules: Value,
    /// Set if the rules must be refused with a message that has this in it; there are no steps then.
    pub refused: Option<String>,
    /// Set if the rules must load with a warning or note that has this in it.
    pub warns: Option<String>,
    /// The history, in order.
    pub steps: Vec<Step>,
}

/// How we know what AWS does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// AWS says so.
    Documented,
    /// It follows from what AWS says.
    Inferred,
    /// AWS is silent, we chose.
    Chosen,
}

impl Basis {
    /// As written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Inferred => "inferred",
            Self::Chosen => "chosen",
        }
    }
}

/// One event of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A packet crosses an interface.
    Packet(PacketStep),
    /// So many seconds pass.
    Wait(u64),
    /// These rules, complete, are loaded as a new generation.
    Load(Value),
}

/// A packet and what must become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketStep {
    /// Its line in the file.
    pub line: usize,
    /// The interface, or the subnet whose device it is.
    pub at: String,
    /// Seen from the interface.
    pub direction: Direction,
    /// The packet as written.
    pub text: String,
    /// The packet as Ethernet frame.
    pub frame: Vec<u8>,
    /// Passed or dropped.
    pub expect: Expect,
    /// The layer that decided and its rule or reason.
    pub by: String,
    /// The ACL entry that let it on to the group.
    pub acl: Option<String>,
    /// Whether the connection table has an entry for this flow afterwards.
    pub tracked: Option<bool>,
}

/// The way of a packet, seen from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the interface.
    Inbound,
    /// From the interface.
    Outbound,
}

/// The answer that a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
}

impl Case {
    /// `file:line: name`, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}: {}", self.file.display(), self.line, self.name)
    }

    /// Its packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = &PacketStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Packet(packet) => Some(packet),
            Step::Wait(_) | Step::Load(_) => None,
        })
    }
}

/// All cases of this crate, in the order of the files' names.
pub fn load() -> Result<Vec<Case>> {
    load_directory(&directory())
}

/// Where they are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// All cases of the `.toml` files in a directory. The error lists every mistake, one a line.
pub fn load_directory(directory: &Path) -> Result<Vec<Case>> {
    file::load_directory(directory)
}
