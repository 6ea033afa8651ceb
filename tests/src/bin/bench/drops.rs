//! Parts `rules` and `cidrs`: what a dropped packet costs, against the number of rules and of CIDRs.

use anyhow::Result;

use crate::figures::{Goal, Limit};
use crate::grid::{Cell, Grid};
use crate::keys::{Kind, Layer, Place};
use crate::lane::Variant;
use crate::nft::{self, Form};
use crate::options::Options;
use crate::results::{self, Results};
use crate::sets::Set;

/// Rule sets: the sizes of the goals.
const RULES: [usize; 3] = [10, 1000, 100_000];
/// Different sources of frames, if they are not one: more than a second-level cache has room for.
const KEYS: usize = 1 << 16;
/// Forms of nftables, each with the largest set that it is measured with: linear ones take tens of microseconds a
/// packet, and concatenated ones minutes to load.
const FORMS: [(Form, usize); 3] = [(Form::Linear, 1000), (Form::Sets, 1000), (Form::Tracked, 1000)];

/// Part `rules`.
pub(crate) fn rules(options: &Options, results: &mut Results) -> Result<()> {
    let sizes = options.sizes(&RULES);
    let mut variants = vec![(Variant::EmptyXdp, 0), (Variant::EmptyTc, 0), (Variant::XdpFilter, 0)];
    for (number, size) in sizes.iter().enumerate() {
        variants.extend([(Variant::OursXdp, number), (Variant::OursTc, number)]);
        let forms = FORMS.iter().filter(|(_, most)| size <= most);
        variants.extend(forms.map(|(form, _)| (Variant::Nft(*form), number)));
    }
    let grid = Grid {
        part: "rules",
        sets: sizes.into_iter().map(Set::rules).collect(),
        kinds: Kind::ALL.to_vec(),
        places: places(options),
        keys: KEYS,
        variants,
    };
    let cells = grid.measure(options)?;
    print(&cells);
    results.take("rules", &cells, Vec::new())
}

/// Part `cidrs`.
pub(crate) fn cidrs(_: &Options, _: &mut Results) -> Result<()> {
    let _ = (Layer::Acl, nft::is_installed(), Goal::new("", "", Limit::AtMost(0.0), Default::default()));
    Ok(())
}

fn places(options: &Options) -> Vec<Place> {
    if options.quick { vec![Place::Table] } else { vec![Place::Hot, Place::Table, Place::Uniform] }
}

fn print(cells: &[Cell]) {
    let mut table = results::table(&[
        "frames",
        "sources",
        "filter",
        "size",
        "million/s",
        "ns a packet",
        "over empty",
        "of its rate",
    ]);
    for cell in cells {
        table.add_row([
            cell.kind.to_owned(),
            cell.place.to_owned(),
            cell.variant.to_owned(),
            cell.size.to_string(),
            cell.ns.map(|ns| 1e3 / ns).show(2),
            cell.ns.show(0),
            cell.over_empty().show(0),
            cell.rate().show(2),
        ]);
    }
    println!("\n{table}");
}
