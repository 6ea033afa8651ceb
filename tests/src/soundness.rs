//! What must hold of a table of connections whenever nobody is at work on it.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fw_common::FlowKey;
use fw_common::conntrack::{Class, Connection};
use fw_common::store::{Buckets, Cell, Layout, Store};
use fw_userspace::datapath::{self, ConnectionTable};

/// The table of what is loaded.
pub fn table(bpffs: &Path) -> Result<ConnectionTable> {
    let store = datapath::Store::open(bpffs)?.context("nothing is loaded")?;
    Ok(ConnectionTable::open(&store.maps())?)
}

/// All entries as they lie there, expired ones included.
pub fn entries<'a, B: Buckets<'a>>(buckets: B) -> Vec<(FlowKey, Connection, Class)> {
    let places = |bucket| (0..Layout::PLACES).filter_map(move |place| Store(buckets).read(bucket, place));
    (0..buckets.layout().total()).flat_map(places).collect()
}

/// No flow is there twice, every place is free or filled, and confirmed connections are counted right.
pub fn check<'a, B: Buckets<'a>>(buckets: B) -> Result<()> {
    let entries = entries(buckets);
    let keys: HashSet<FlowKey> = entries.iter().map(|(key, ..)| *key).collect();
    ensure!(keys.len() == entries.len(), "{} flows are {} entries", keys.len(), entries.len());
    let confirmed = entries.iter().filter(|(.., class)| class.is_kept()).count() as u64;
    let counted = Store(buckets).counted();
    ensure!(counted == confirmed, "{counted} connections are counted, {confirmed} are there");
    let taken = taken(buckets);
    ensure!(taken == entries.len(), "{taken} places are taken by {} entries", entries.len());
    Ok(())
}

/// Places whose tags are not 0.
fn taken<'a, B: Buckets<'a>>(buckets: B) -> usize {
    let words = (0..buckets.layout().total())
        .filter_map(|bucket| buckets.tags(bucket))
        .flat_map(|tags| tags.iter().take(Layout::PLACES as usize / 4))
        .map(Cell::load);
    words.map(|word| (0..4).filter(|lane| word >> (16 * lane) & 0xffff != 0).count()).sum()
}
