//! Part `connections`: what tracked connections cost, live and new, and what a flood does to them.

mod established;
mod floods;
mod frames;
mod pairs;
mod rules;
mod siege;
mod sockets;
mod stock;
mod track;

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::nft;
use crate::options::Options;
use crate::results::{self, Results};
use pairs::{Judge, Row, Tracks};
use siege::Siege;
use track::Face;

/// `conntrack_max` of the largest table.
const MAX: u32 = 2_000_000;
/// Flows that nftables tracks besides while it is measured.
const SPARE: u32 = 20_000;

/// Part `connections`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let with_nft = nft::is_installed();
    if !with_nft {
        println!("!! left out: nftables: it is not installed");
    }
    let mut goals = Vec::new();

    let mut tracks = Tracks::open(MAX, with_nft)?;
    let room = if with_nft { nf_conntrack_max().saturating_sub(SPARE) } else { 0 };
    let peers = established::sizes(options).into_iter().filter(|size| *size <= room).max().unwrap_or(0);
    println!("   opening connections");
    established::fill(options, &mut tracks, peers)?;
    let ours = tracks.of(Judge::Ours(Face::Stack))?;
    let stock = stock::measure(options, ours)?;
    goals.extend(stock.goals(established::sizes(options).into_iter().max().unwrap_or(0)));
    println!("   packets of connections");
    let established = established::measure(options, &mut tracks, peers)?;
    goals.extend(established::goals(&established));
    drop(tracks);

    println!("   packets of nobody");
    let mut tracks = Tracks::open(sockets::DEFAULT_MAX, with_nft)?;
    let floods = floods::measure(options, &mut tracks, with_nft)?;
    goals.extend(floods::goals(&floods));
    drop(tracks);

    print_rows(&[&established, &floods]);
    let sieges = siege::measure(options, with_nft)?;
    goals.extend(sieges.iter().filter(|siege| siege.filter.starts_with("fwctl")).flat_map(Siege::goals));
    print_sieges(&sieges);
    println!("   connections of sockets");
    let rates = sockets::measure(options, with_nft)?;
    goals.extend(sockets::goals(&rates));
    let mut table = results::table(&["TCP connections: request, answer, close", "a second"]);
    for rate in &rates {
        table.add_row([rate.filter.to_owned(), rate.rate.show(0)]);
    }
    println!("\n{table}");
    stock.print();
    let values = json!({
        "established": established, "floods": floods, "sieges": sieges, "rates": rates, "stock": stock,
    });
    results.take("connections", values, goals)
}

fn print_rows(blocks: &[&[Row]]) {
    let mut table = results::table(&["packets", "of a random one of", "filter", "ns a packet", "over empty"]);
    for row in blocks.iter().copied().flatten() {
        table.add_row([
            row.packet.clone(),
            row.connections.to_string(),
            row.judge.to_owned(),
            row.ns.show(0),
            row.over_empty().show(0),
        ]);
    }
    println!("\n{table}\n");
}

fn print_sieges(sieges: &[Siege]) {
    let header = [
        "SYN flood over 10000 connections",
        "s",
        "million frames/s",
        "ns a frame",
        "lost",
        "new a second before, meanwhile, after",
        "share",
        "failed",
    ];
    let mut table = results::table(&header);
    for siege in sieges {
        let [before, meanwhile, after] = siege.rates;
        table.add_row([
            siege.filter.to_owned(),
            format!("{:.0}", siege.seconds),
            format!("{:.2}", 1e3 / siege.ns()),
            format!("{:.0}", siege.ns()),
            siege.lost.to_string(),
            format!("{before:.0}, {meanwhile:.0}, {after:.0}"),
            format!("{:.2}", siege.share()),
            siege.failed.to_string(),
        ]);
    }
    println!("\n{table}\n");
}

/// The machine's limit of tracked connections, for each namespace.
fn nf_conntrack_max() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
