//! One generation as sets: which addresses its rules tell apart, and which keys each list lets pass for them. The rows
//! are the very ones that the tables are written from; nothing here reads a rule a second time.

use super::book::{Book, List, ListId};
use super::bounds::Limits;
use super::classes::Classes;
use super::device::{Device, Filter};
use super::entry::Entry;
use super::numbering::Renumbering;
use super::rows::{Passing, Tables};
use super::rules::{self, Rules};
use super::sources::EntrySets;
use super::{Binding, Bounds, Carries, CompileError, Numbering, RuleInfo};
use crate::model::Policy;

/// A policy, flattened list by list when asked.
pub(crate) struct Flattened {
    entries: Vec<Entry>,
    sets: EntrySets,
    lists: Vec<List>,
    classes: [Classes; 2],
    filters: Vec<(Carries, Filter)>,
    infos: Vec<RuleInfo>,
    bounds: Bounds,
}

impl Flattened {
    /// Of a policy on these devices.
    pub(crate) fn new(policy: &Policy, bindings: &[Binding], bounds: Bounds) -> Result<Self, CompileError> {
        let mut numbers = Renumbering::new(Numbering::default());
        let aws_default = rules::aws_default_acl();
        let rules = Rules::number(policy, &aws_default, &mut numbers)?;
        let mut book = Book::new(policy, bindings, &rules);
        let filters = bindings
            .iter()
            .map(|binding| {
                Ok((binding.carries.clone(), Device::new(policy, binding, 0, &mut book)?.filter()))
            })
            .collect::<Result<_, CompileError>>()?;
        let (entries, sets, lists, [ipv4, ipv6]) = book.finish();
        let classes = [Classes::new(ipv4, 32), Classes::new(ipv6, 128)];
        Ok(Self { entries, sets, lists, classes, filters, infos: rules.infos, bounds })
    }

    /// What is filtered, in the order of the bindings.
    pub(crate) fn filters(&self) -> &[(Carries, Filter)] {
        &self.filters
    }

    /// From which address of a family on which class, beginning at address 0.
    pub(crate) fn steps(&self, family: usize) -> &[(u128, u32)] {
        self.classes[family].steps()
    }

    /// What a list lets pass in a family; see [`Tables::passing`].
    pub(crate) fn passing(
        &self,
        list: ListId,
        family: usize,
        keep: &mut dyn FnMut(Vec<(u16, u16)>) -> u32,
    ) -> Result<Passing, CompileError> {
        let mut tables = Tables::new(&self.entries, &self.sets, &self.classes, self.bounds.max_memory);
        let list = &self.lists[list];
        tables
            .passing(list, family, keep)
            .map_err(|blowup| Limits::new(&self.bounds, &self.infos).blown_up(list, &self.entries, &blowup))
    }
}
