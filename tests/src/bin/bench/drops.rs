//! Parts `rules` and `cidrs`: what a dropped packet costs, against the number of rules and of CIDRs.

use anyhow::Result;
use fw_tests::random::Random;

use crate::figures::{Goal, Limit, Sample};
use crate::grid::{Cell, Grid};
use crate::keys::{Kind, Layer, Place};
use crate::lane::Variant;
use crate::nft::Form;
use crate::options::Options;
use crate::results::{self, Results};
use crate::sets::Set;
use crate::{geo, plots};

/// Rule sets: the sizes of the goals, and some between.
const RULES: [usize; 5] = [10, 100, 1000, 10_000, 100_000];
/// Prefix lists.
const CIDRS: [usize; 5] = [10, 1000, 10_000, 100_000, 1_000_000];
/// No goal is about these.
const OF_THE_CURVE: [usize; 2] = [100, 10_000];
/// Different frames, where they are not one, for rules and for CIDRs: far more than the first caches have room for, and
/// with CIDRs enough to touch most of a large table.
const KEYS: [usize; 2] = [1 << 16, 1 << 18];
/// Forms of nftables for rules, each with the largest set that it is measured with: linear ones take tens of
/// microseconds a packet.
const FORMS: [(Form, usize); 3] = [(Form::Linear, 1000), (Form::Sets, 10_000), (Form::Tracked, 1000)];

/// Part `rules`.
pub(crate) fn rules(options: &Options, results: &mut Results) -> Result<()> {
    let sizes = options.sizes(&RULES, &OF_THE_CURVE);
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
        keys: KEYS[0],
        variants,
    };
    report("rules", &grid.measure(options)?, results)
}

/// Part `cidrs`.
pub(crate) fn cidrs(options: &Options, results: &mut Results) -> Result<()> {
    let all = geo::cidrs()?;
    println!("   {} CIDRs of all countries, of which each set has some at random", all.len());
    let mut variants = vec![(Variant::EmptyXdp, 0), (Variant::EmptyTc, 0)];
    let mut sets = Vec::new();
    for (number, size) in options.sizes(&CIDRS, &OF_THE_CURVE).into_iter().enumerate() {
        sets.push(Set::cidrs(Random(1).pick(all.clone(), size)));
        let ours = [Variant::OursXdp, Variant::OursTc];
        variants.extend(ours.into_iter().chain([Variant::Nft(Form::Sets)]).map(|variant| (variant, number)));
    }
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.layer == Layer::Groups).collect();
    let grid = Grid { part: "cidrs", sets, kinds, places: places(options), keys: KEYS[1], variants };
    report("cidrs", &grid.measure(options)?, results)
}

fn places(options: &Options) -> Vec<Place> {
    if options.quick { vec![Place::Table] } else { vec![Place::Hot, Place::Table, Place::Uniform] }
}

fn report(part: &str, cells: &[Cell], results: &mut Results) -> Result<()> {
    let header =
        ["frames", "sources", "filter", part, "million/s", "ns a packet", "over empty", "of its rate"];
    let mut table = results::table(&header);
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
    plots::cost(part, cells)?;
    plots::rates(part, cells)?;
    let goals = if part == "rules" { goals(cells) } else { large(cells) };
    results.take(part, cells, goals)
}

/// What was promised of rules. Frames come from random networks of the set; how flat the cost is is told of one frame
/// again and again as well, which finds its lines in the first cache.
fn goals(cells: &[Cell]) -> Vec<Goal> {
    let ours_at = |kind, place, size| find(cells, Variant::OursXdp, kind, place, size);
    let ours = |kind: Kind, size: usize| ours_at(kind, Place::Table, size);
    let mut goals = Vec::new();
    for kind in Kind::ALL {
        let (most_ns, least_rate) = if kind.layer == Layer::Acl { (40.0, 0.8) } else { (60.0, 0.75) };
        let mut add = |what: &str, unit, limit, rounds: Option<Sample>| {
            goals.extend(
                rounds.map(|rounds| Goal::new(format!("{}: {what}", kind.name()), unit, limit, rounds)),
            );
        };
        let few = ours(kind, 10).map(Cell::over_empty);
        add("XDP, 10 rules, over empty", "ns", Limit::AtMost(most_ns), few.clone());
        for (size, most) in [(1000, 1.1), (100_000, 1.25)] {
            for place in [Place::Hot, Place::Table] {
                let [few, many] = [10, size].map(|size| ours_at(kind, place, size).map(Cell::over_empty));
                let grown = many.zip(few).map(|(many, few)| many.over(&few));
                let what = format!("XDP, the same, {size} rules / 10, {}", place.name());
                add(&what, "times", Limit::AtMost(most), grown);
            }
        }
        let other = Kind { family: 0, ..kind };
        if kind != other {
            let four = ours(other, 10).map(Cell::over_empty);
            let ratio = few.as_ref().zip(four).map(|(six, four)| six.over(&four));
            add("XDP, 10 rules, over empty, / IPv4", "times", Limit::AtMost(2.0), ratio);
        }
        let rate = ours(kind, 1000).map(Cell::rate);
        add("XDP, 1000 rules, packets/s / empty", "times", Limit::AtLeast(least_rate), rate.clone());
        let theirs = find(cells, Variant::XdpFilter, kind, Place::Table, 10).map(Cell::rate);
        let ratio = rate.zip(theirs).map(|(own, theirs)| own.over(&theirs));
        add("XDP, 1000 rules, packets/s / xdp-filter", "times", Limit::AtLeast(1.0), ratio);

        let own = find(cells, Variant::OursTc, kind, Place::Table, 1000).map(Cell::rate);
        let netdev = [Form::Linear, Form::Sets];
        let peers =
            netdev.iter().filter_map(|form| find(cells, Variant::Nft(*form), kind, Place::Table, 1000));
        let best = peers.map(Cell::rate).max_by(|a, b| a.median().total_cmp(&b.median()));
        let ratio = own.zip(best).map(|(own, best)| own.over(&best));
        add("TC, 1000 rules, packets/s / best nft at netdev", "times", Limit::AtLeast(1.3), ratio);
    }
    goals
}

/// What was promised of CIDRs.
fn large(cells: &[Cell]) -> Vec<Goal> {
    let kinds = Kind::ALL.into_iter();
    let found = kinds.filter_map(|kind| find(cells, Variant::OursXdp, kind, Place::Table, 1_000_000));
    let goal = |cell: &Cell| {
        let what = format!("{}: XDP, 1000000 CIDRs, over empty", cell.kind);
        Goal::new(what, "ns", Limit::AtMost(100.0), cell.over_empty())
    };
    found.map(goal).collect()
}

fn find(cells: &[Cell], variant: Variant, kind: Kind, place: Place, size: usize) -> Option<&Cell> {
    let wanted = (variant.name(), kind.name(), place.name(), size);
    cells.iter().find(|cell| (cell.variant, cell.kind, cell.place, cell.size) == wanted)
}
