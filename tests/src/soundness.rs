//! What must hold of a table of connections whenever nobody is at work on it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};
use fw_common::FlowKey;
use fw_common::conntrack::Class;
use fw_common::store::{Buckets as _, Layout, Store};
use fw_userspace::datapath::{self, ConnectionTable};

/// The table of what is loaded.
pub fn table(bpffs: &Path) -> Result<ConnectionTable> {
    let store = datapath::Store::open(bpffs)?.context("nothing is loaded")?;
    Ok(ConnectionTable::open(&store.maps())?)
}

/// No flow is there twice, every place is free or filled, and confirmed connections are counted right.
pub fn check(table: &ConnectionTable) -> Result<()> {
    let entries: Vec<_> = table.iter().collect();
    let keys: HashSet<FlowKey> = entries.iter().map(|(key, ..)| *key).collect();
    ensure!(keys.len() == entries.len(), "{} flows are {} entries", keys.len(), entries.len());
    let confirmed = entries.iter().filter(|(.., class)| *class == Class::Confirmed).count() as u64;
    let counted = Store(table).counted();
    ensure!(counted == confirmed, "{counted} connections are counted, {confirmed} are there");
    let taken = taken(table);
    ensure!(taken == entries.len(), "{taken} places are taken by {} entries", entries.len());
    Ok(())
}

/// Places whose tags are not 0.
fn taken(table: &ConnectionTable) -> usize {
    let words = (0..table.founded().layout.total())
        .filter_map(|bucket| table.tags(bucket))
        .flat_map(|tags| tags.iter().take(Layout::PLACES as usize / 4))
        .map(|word| word.load(Ordering::Acquire));
    words.map(|word| (0..4).filter(|lane| word >> (16 * lane) & 0xffff != 0).count()).sum()
}
