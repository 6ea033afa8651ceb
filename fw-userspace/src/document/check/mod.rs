//! Turns the file as written into the checked [`Policy`]; everything that needs more than one value to judge.
//!
//! A check keeps quiet about a value that could not be read: its mistake was reported already.

mod acls;
mod devices;
mod groups;
mod identity;
mod interfaces;
mod names;
mod nets;
mod quotas;
mod traffic;
mod vpcs;

use std::collections::BTreeMap;

use super::report::Report;
use super::scalar::{Ranged, Word};
use super::types::{Document, DocumentSettings};
use super::value::Field;
use crate::lint::Code;
use crate::model::{Policy, PrefixList, Settings};
use names::Names;

/// The policy that a document describes. Of use only if the report has no errors afterwards.
pub(super) fn policy_of(document: &Document, report: &mut Report<'_>) -> Policy {
    let names = Names::of(document);
    let vpcs = vpcs::vpcs(document, report);
    let peerings = vpcs::peerings(document, &names, report);
    let network_acls = acls::network_acls(document, &names, report);
    let subnets = vpcs::subnets(document, &names, report);
    let prefix_lists: BTreeMap<String, PrefixList> = document
        .prefix_lists
        .readable()
        .map(|(name, list)| {
            let entries: Vec<_> = list.value.entries.list().iter().map(|entry| &entry.value.0).collect();
            let entries = nets::nets("entries", entries.into_iter(), report);
            let max_entries = max_entries(&list.value.max_entries, entries.len(), report);
            if let Some(given) = list.value.entries.get()
                && entries.is_empty()
                && list.value.entries.is_complete()
            {
                report.say(
                    given.at,
                    Code::PrefixListEmpty,
                    "the list has no entries: a rule that names it matches nothing",
                );
            }
            (name.to_owned(), PrefixList { entries, max_entries })
        })
        .collect();
    let security_groups = groups::security_groups(document, &names, &prefix_lists, report);
    let interfaces = interfaces::interfaces(document, &names, report);
    devices::check(document, report);
    let settings = document.settings.value().map(settings).unwrap_or_default();
    Policy { vpcs, peerings, subnets, network_acls, prefix_lists, security_groups, interfaces, settings }
}

fn max_entries(field: &Field<Ranged<1, 4_294_967_295>>, entries: usize, report: &mut Report<'_>) -> u32 {
    let Some(given) = field.get() else {
        return u32::try_from(entries).unwrap_or(u32::MAX);
    };
    let max_entries: u32 = given.value.to();
    if (max_entries as usize) < entries {
        let message =
            format!("\"max_entries\" is {max_entries}, must be at least {entries}, the number of entries");
        report.say(given.at, Code::ValueConflict, message);
    }
    max_entries
}

fn settings(written: &DocumentSettings) -> Settings {
    let default = Settings::default();
    Settings {
        conntrack_max: number(&written.conntrack_max, default.conntrack_max),
        mid_stream: word(&written.mid_stream, default.mid_stream),
        adopt_seconds: number(&written.adopt_seconds, default.adopt_seconds),
        exempt_services: word(&written.exempt_services, default.exempt_services),
        other_ethertypes: written.other_ethertypes.value().map(|word| word.0),
    }
}

fn number<const MIN: i64, const MAX: i64>(field: &Field<Ranged<MIN, MAX>>, default: u32) -> u32 {
    field.value().map_or(default, |number| number.to())
}

fn word<T: Copy>(field: &Field<Word<T>>, default: T) -> T {
    field.value().map_or(default, |word| word.0)
}
