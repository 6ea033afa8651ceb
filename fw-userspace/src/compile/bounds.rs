//! How large tables may be, and what to say of those that are larger.

use fw_common::layout::Line;

use super::book::List;
use super::classes::Classes;
use super::entry::{Entry, EntryId};
use super::heap::Heap;
use super::rows::Blowup;
use super::{CompileError, RuleInfo};

/// What the tables of a rule set may take where nobody says otherwise: 256 MiB. A million CIDRs take a tenth of it.
pub const DEFAULT_MAX_MEMORY: u64 = 256 << 20;

/// Rows that all lists together may have, those that are the same in the end included: some seconds.
const MAX_ROWS: u64 = 1 << 28;

/// Rules that a message names.
const NAMED_RULES: usize = 3;

/// What compiling may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the finished tables, and of what the largest of them is built from.
    pub max_memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_memory: DEFAULT_MAX_MEMORY }
    }
}

/// As in messages.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The bounds of one compilation, and the names of its rules.
pub(super) struct Limits<'r> {
    max: u64,
    rules: &'r [RuleInfo],
}

impl<'r> Limits<'r> {
    pub(super) fn new(bounds: &Bounds, rules: &'r [RuleInfo]) -> Self {
        Self { max: bounds.max_memory, rules }
    }

    /// Lines that fit.
    pub(super) fn lines(&self) -> usize {
        usize::try_from(self.max / size_of::<Line>() as u64).unwrap_or(usize::MAX)
    }

    /// Each list is asked about each class, which can be told before anything is built.
    pub(super) fn check_tables(&self, lists: &[List], classes: &[Classes; 2]) -> Result<(), CompileError> {
        // Lists without entries have the same table.
        let count = lists.iter().filter(|list| !list.entries.is_empty()).count();
        let entries = classes.iter().map(|classes| classes.len() as u64).sum::<u64>();
        if count as u64 * entries <= MAX_ROWS {
            return Ok(());
        }
        Err(CompileError::TooMuchWork {
            what: format!("the {count} lists of rules of groups and network ACLs"),
            why: format!(
                "each list tells {entries} sets of remote addresses apart, which all lists together name; put CIDRs that \
                 the same rules name into one prefix list, or allow more"
            ),
        })
    }

    /// The addresses of all CIDRs do not fit.
    pub(super) fn too_many_addresses(&self, family: &str, heap: &Heap<'_>) -> CompileError {
        CompileError::Blowup {
            what: format!("the {family} addresses of all CIDRs"),
            bytes: u64::from(heap.taken() + 1) * size_of::<Line>() as u64,
            max: self.max,
            why: "there are more to come; put neighbours into shorter prefixes, remove some, or allow more"
                .to_owned(),
        }
    }

    /// The rows of a list multiply.
    pub(super) fn blown_up(&self, list: &List, entries: &[Entry], blowup: &Blowup) -> CompileError {
        let Blowup { bytes, rows, widest, .. } = blowup;
        let (what, bytes) = (list.what.clone(), *bytes);
        let why = format!(
            "each of {rows} sets of remote addresses, or more, has ranges of ports of its own, and {}; merge ranges of \
             ports, put CIDRs that the same rules name into one prefix list, or allow more",
            self.named(widest, entries)
        );
        if bytes > self.max {
            CompileError::Blowup { what, bytes, max: self.max, why }
        } else {
            CompileError::TooMuchWork { what, why }
        }
    }

    /// `one of them is named by 1000 rules: "a", "b", "c" and others`
    fn named(&self, widest: &[EntryId], entries: &[Entry]) -> String {
        let slots = widest.iter().map(|entry| entries[*entry as usize].rule.slot());
        let name =
            |slot| self.rules.iter().find(|rule| rule.slot == slot).map(|rule| format!("\"{}\"", rule.rule));
        let names: Vec<String> = slots.take(NAMED_RULES).filter_map(name).collect();
        let others = if widest.len() > names.len() { " and others" } else { "" };
        let rules = if widest.len() == 1 { "rule" } else { "rules" };
        format!("one set is named by {} {rules}: {}{others}", widest.len(), names.join(", "))
    }
}
