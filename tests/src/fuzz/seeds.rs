//! Where fuzzing starts: the frames and the rules of the cases, the examples, a few histories, and the words of the
//! rules file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fw_userspace::document;
use serde_json::Value;

use super::history::RECORD;
use crate::case::{self, Step};
use crate::packet::flag::{ACK, FIN, PSH, RST, SYN};

/// The first inputs of a target, each once.
pub fn seeds(target: &str) -> Result<BTreeSet<Vec<u8>>> {
    Ok(match target {
        "frame" => frames()?,
        "history" => histories(),
        "rules" => rules()?,
        other => bail!("there is no fuzz target {other:?}"),
    })
}

/// The keys and words of the rules file, in libFuzzer's format.
pub fn dictionary() -> String {
    let mut words = BTreeSet::new();
    collect_words(document::schema().as_value(), &mut words);
    let more = ["0.0.0.0/0", "::/0", "10.20.1.0/24", "2001:db8::/32", "-1", "65535", "32766", "self"];
    words.extend(more.map(str::to_owned));
    let mut text = String::new();
    for word in words {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\"\\\"{word}\\\"\"");
    }
    text
}

fn collect_words(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => words.extend(properties.keys().cloned()),
                    ("enum", Value::Array(values)) => {
                        words.extend(values.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    ("const", Value::String(word)) => {
                        words.insert(word.clone());
                    }
                    _ => {}
                }
                collect_words(value, words);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| collect_words(value, words)),
        _ => {}
    }
}

fn frames() -> Result<BTreeSet<Vec<u8>>> {
    let mut seeds = BTreeSet::new();
    for case in case::load()? {
        for step in case.steps {
            if let Step::Packet(packet) = step {
                // As it is, and with a tag and segments in metadata.
                seeds.insert([&[0], &packet.frame[..]].concat());
                seeds.insert([&[3], &packet.frame[..]].concat());
            }
        }
    }
    Ok(seeds)
}

fn rules() -> Result<BTreeSet<Vec<u8>>> {
    let mut seeds = BTreeSet::new();
    for case in case::load()? {
        seeds.insert(case.rules.to_string().into_bytes());
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries =
        std::fs::read_dir(&examples).with_context(|| format!("cannot read {}", examples.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            seeds.insert(std::fs::read(path)?);
        }
    }
    Ok(seeds)
}

/// A packet: place and direction, flow, flags, length.
const fn packet(place: u8, flow: u8, flags: u8, len: u8) -> [u8; RECORD] {
    [0, place, flow, flags, 0, 0, len, 0]
}

const IN: u8 = 0;
const OUT: u8 = 1;
const SYN_ACK: u8 = SYN | ACK;

const fn fragment(place: u8, flow: u8, at: u8, more: bool) -> [u8; RECORD] {
    [10, place, flow, if more { 0x80 } else { 0 } | SYN, at, 0, 40, 1]
}

/// An ICMP error of this kind about a packet that went the other way.
const fn error(place: u8, flow: u8, kind: u8) -> [u8; RECORD] {
    [11, place, flow, ACK, 0, 0, 0, kind]
}

const fn wait(which: u8) -> [u8; RECORD] {
    [12, 0, 0, 0, 0, 0, 0, which]
}

const fn load(rules: u8) -> [u8; RECORD] {
    [13, 0, 0, 0, 0, 0, 0, rules]
}

fn histories() -> BTreeSet<Vec<u8>> {
    let open = |flow| [packet(IN, flow, SYN, 0), packet(OUT, flow, SYN_ACK, 0), packet(IN, flow, ACK, 0)];
    let exchange = |flow| [packet(IN, flow, 0, 8), packet(OUT, flow, 1, 8)];
    let closes = [packet(IN, 0, FIN | ACK, 0), packet(OUT, 0, FIN | ACK, 0), packet(IN, 0, ACK, 0), wait(2)];
    let outward = [packet(OUT, 1, SYN, 0), packet(IN, 1, SYN_ACK, 0), packet(OUT, 1, ACK | PSH, 20)];
    let full = [open(0).concat(), open(6).concat(), open(10).concat(), open(11).concat(), open(8).concat()];
    let histories: [Vec<Vec<u8>>; 10] = [
        vec![open(0).concat(), closes.concat(), open(0).concat()],
        vec![
            outward.concat(),
            error(IN, 1, 0).to_vec(),
            packet(IN, 1, RST | ACK, 0).to_vec(),
            wait(2).to_vec(),
        ],
        vec![full.concat()],
        vec![exchange(2).concat(), exchange(2).concat(), wait(4).to_vec(), exchange(2).concat()],
        vec![exchange(4).concat(), exchange(5).concat(), exchange(7).concat(), error(OUT, 2, 1).to_vec()],
        vec![
            fragment(IN, 2, 0, true).to_vec(),
            fragment(IN, 2, 5, false).to_vec(),
            wait(5).to_vec(),
            fragment(IN, 2, 5, false).to_vec(),
        ],
        vec![
            open(0).concat(),
            load(3).to_vec(),
            packet(IN, 0, ACK, 9).to_vec(),
            packet(IN, 0, SYN, 0).to_vec(),
        ],
        vec![load(2).to_vec(), open(0).concat(), load(0).to_vec(), packet(OUT, 0, ACK, 9).to_vec()],
        vec![load(5).to_vec(), packet(OUT, 9, SYN, 0).to_vec(), packet(IN, 9, SYN_ACK, 0).to_vec()],
        vec![open(0).concat().repeat(2), [packet(4, 0, ACK, 1), packet(6, 0, ACK, 1)].concat()],
    ];
    let mut seeds = BTreeSet::new();
    for history in histories {
        for rules in 0..7u8 {
            seeds.insert([vec![rules], history.concat()].concat());
        }
    }
    seeds
}
