//! A window as lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use fw_common::flow_log::Action;
use serde_json::{Map, Value as Json};

use super::record::{Event, Frame, Place, Record, Value};
use super::{Form, Options};
use crate::datapath::{Window, epoch_ns, monotonic_ns};
use crate::error::Result;

/// The lines of a window.
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    /// Of a form that is made of all of them together.
    #[cfg(feature = "parquet")]
    table: super::parquet::Table,
    pub(super) records: u64,
    /// Packets that SKIPDATA records stand for.
    pub(super) skipped: u64,
}

/// The records of a window, with what was lost of earlier ones, by zone.
pub(super) fn lines(window: &Window, lost: &BTreeMap<u32, u64>, options: &Options) -> Result<Lines> {
    let contents = window.read()?;
    let frame = Frame {
        account: &options.account_id,
        version: options.format.version(),
        window,
        to_epoch_ns: epoch_ns().saturating_sub(monotonic_ns()),
    };
    let mut lines = Lines {
        bytes: Vec::new(),
        #[cfg(feature = "parquet")]
        table: super::parquet::Table::of(&options.format),
        records: 0,
        skipped: 0,
    };
    let mut places: BTreeMap<u32, Place<'_>> = BTreeMap::new();
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    for (flow, tally) in &contents.flows {
        let place = *places.entry(flow.zone).or_insert_with(|| Place::of(flow.zone, window));
        seen.insert(flow.zone);
        if Action::from_code(flow.action).is_some_and(|action| options.traffic_type.has(action)) {
            lines.add(&Record::new(&frame, place, Event::Flow(flow, tally)), options);
        }
    }
    let mut skipped = contents.skipped;
    for (zone, packets) in lost {
        *skipped.entry(*zone).or_default() += packets;
    }
    // Of one that saw nothing but what had no room, too: it saw traffic.
    seen.extend(skipped.keys());
    for (zone, packets) in &skipped {
        lines.skipped += packets;
        lines.add(&Record::new(&frame, Place::of(*zone, window), Event::SkipData(*packets)), options);
    }
    let mut silent: Vec<(&str, u32)> = match window.generations.first() {
        Some(generation) => generation.names.zones().map(|(zone, name)| (name, zone)).collect(),
        None => Vec::new(),
    };
    silent.retain(|(_, zone)| !seen.contains(zone));
    silent.sort_unstable();
    for (_, zone) in silent {
        lines.add(&Record::new(&frame, Place::of(zone, window), Event::NoData), options);
    }
    #[cfg(feature = "parquet")]
    if options.form == Form::Parquet {
        lines.bytes = lines.table.bytes()?;
    }
    Ok(lines)
}

impl Lines {
    fn add(&mut self, record: &Record<'_>, options: &Options) {
        self.records += 1;
        let fields = options.format.fields();
        match options.form {
            Form::Json => {
                let object: Map<String, Json> = fields
                    .iter()
                    .map(|field| (field.name().to_owned(), json(record.value(*field))))
                    .collect();
                self.bytes.extend(Json::Object(object).to_string().into_bytes());
            }
            Form::Text => {
                for (place, field) in fields.iter().enumerate() {
                    let space = if place == 0 { "" } else { " " };
                    // To memory, which takes everything.
                    let _ = write!(self.bytes, "{space}{}", record.value(*field));
                }
            }
            #[cfg(feature = "parquet")]
            Form::Parquet => return self.table.add(|field| record.value(field)),
        }
        self.bytes.push(b'\n');
    }
}

fn json(value: Value<'_>) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Address(address) => address.to_string().into(),
    }
}
