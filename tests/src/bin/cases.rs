//! `cargo xtask cases`: every case, each of the ways it runs, as a table. It needs root and leaves nothing behind.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use fw_tests::case::{self, Case};
use fw_tests::kernel::{Kernel, Received};
use fw_tests::run;
use fw_tests::run::bytecode::Twins;
use fw_tests::run::wire::Wire;

const WAYS: [&str; 5] = ["core", "XDP", "TC", "wire XDP", "wire TC"];

const LEGEND: &str = "\
core: reader, compiler and decision core on the host. XDP, TC: the bytecode by kernel test runs, beside the core.
wire: fwctl load and real frames over veth pairs. -: nothing to judge, the case is about what the reader says.
not sent: the kernel takes no such frame, for a test run or from a packet socket, or drops it before the filter.";

/// What came of a case on one way.
#[derive(Default)]
struct Outcome {
    failures: Vec<String>,
    packets: usize,
    unsendable: usize,
    /// What could not be sent, and why.
    remarks: Vec<String>,
    /// This way has nothing to say about the case.
    idle: bool,
}

type Outcomes = Vec<Outcome>;

fn main() -> ExitCode {
    let start = Instant::now();
    match show() {
        Ok((0, all)) => {
            println!("All {all} cases hold, {} s.", start.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Ok((failed, all)) => {
            println!("{failed} of {all} cases fail, {} s.", start.elapsed().as_secs());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The cases that fail, and all.
fn show() -> Result<(usize, usize)> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut cases = case::load().map_err(|error| anyhow!("the cases have mistakes:\n{error}"))?;
    let is_wanted = |case: &Case| wanted.iter().any(|part| *part == case.name || *part == file(case));
    cases.retain(|case| wanted.is_empty() || is_wanted(case));
    ensure!(!cases.is_empty(), "no case and no file of cases is called {}", wanted.join(" or "));

    let ways = judge(&cases)?;
    println!("{}\n{LEGEND}\n\n{}\n{}", table(&cases, &ways), by_basis(&cases), by_way(&ways));
    let mut failed = 0;
    for (number, case) in cases.iter().enumerate() {
        let outcomes = || WAYS.iter().zip(ways.iter().map(|outcomes| &outcomes[number]));
        for (way, outcome) in outcomes() {
            for packet in &outcome.remarks {
                println!("{}: not sent ({way}): {packet}", case.place());
            }
        }
        if outcomes().any(|(_, outcome)| !outcome.failures.is_empty()) {
            failed += 1;
            println!("{}: {}", case.place(), case.says);
        }
        for (way, outcome) in outcomes() {
            for failure in &outcome.failures {
                println!("    {way}: {failure}");
            }
        }
    }
    Ok((failed, cases.len()))
}

/// All ways, in the order of [`WAYS`].
fn judge(cases: &[Case]) -> Result<Vec<Outcomes>> {
    thread::scope(|scope| {
        let wire = |received| move || on_the_wire(cases, received);
        let (xdp, tc) = (scope.spawn(wire(Received::Xdp)), scope.spawn(wire(Received::Tc)));
        let mut ways = vec![
            cases.iter().map(on_the_host).collect(),
            in_the_bytecode(cases, Received::Xdp)?,
            in_the_bytecode(cases, Received::Tc)?,
        ];
        for way in [xdp, tc] {
            ways.push(way.join().map_err(|_| anyhow!("a rig broke"))??);
        }
        Ok(ways)
    })
}

fn on_the_host(case: &Case) -> Outcome {
    let packets = case.packets().count();
    Outcome { failures: run::host::failures(case), packets, ..Outcome::default() }
}

fn in_the_bytecode(cases: &[Case], received: Received) -> Result<Outcomes> {
    let mut kernel = Kernel::load()?;
    let mut outcomes = Vec::new();
    for case in cases {
        let mut outcome = Outcome { idle: case.packets().next().is_none(), ..Outcome::default() };
        if !outcome.idle {
            match Twins::new(received, &mut kernel)?.run(case) {
                Ok(packets) => {
                    outcome.packets = packets;
                    outcome.unsendable = case.packets().count() - packets;
                }
                Err(error) => outcome.failures.push(format!("{error:#}")),
            }
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn on_the_wire(cases: &[Case], received: Received) -> Result<Outcomes> {
    let mut wire = Wire::new(received)?;
    let outcomes = cases.iter().map(|case| {
        let run::wire::Report { failures, packets, unsendable: remarks } = wire.run(case);
        Outcome { failures, packets, unsendable: remarks.len(), remarks, idle: false }
    });
    Ok(outcomes.collect())
}

fn table(cases: &[Case], ways: &[Outcomes]) -> Table {
    let mut table = empty(["file", "case", "basis"].into_iter().chain(WAYS));
    let mut last = String::new();
    for (number, case) in cases.iter().enumerate() {
        let mut row = vec![file(case), case.name.clone(), case.basis.name().to_owned()];
        row.extend(ways.iter().map(|outcomes| outcomes[number].cell()));
        if row[0] == last {
            row[0].clear();
        } else {
            last.clone_from(&row[0]);
        }
        table.add_row(row);
    }
    table
}

fn by_basis(cases: &[Case]) -> Table {
    let mut table = empty(["basis", "cases"]);
    let mut counts = BTreeMap::new();
    cases.iter().for_each(|case| *counts.entry(case.basis).or_insert(0) += 1);
    for (basis, count) in counts {
        table.add_row([basis.name().to_owned(), count.to_string()]);
    }
    table.add_row(["all".to_owned(), cases.len().to_string()]);
    table
}

fn by_way(ways: &[Outcomes]) -> Table {
    let mut table = empty(["way", "hold", "fail", "packets judged", "packets not sent"]);
    for (way, outcomes) in WAYS.iter().zip(ways) {
        let run: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.idle).collect();
        let failed = run.iter().filter(|outcome| !outcome.failures.is_empty()).count();
        let packets: usize = run.iter().map(|outcome| outcome.packets).sum();
        let unsendable: usize = run.iter().map(|outcome| outcome.unsendable).sum();
        let counts = [run.len() - failed, failed, packets, unsendable].map(|count| count.to_string());
        table.add_row([(*way).to_owned()].into_iter().chain(counts));
    }
    table
}

impl Outcome {
    fn cell(&self) -> String {
        match (self.idle, self.failures.is_empty(), self.unsendable) {
            (true, ..) => "-".to_owned(),
            (_, false, _) => "FAILS".to_owned(),
            (_, _, 0) => "ok".to_owned(),
            (_, _, unsendable) => format!("ok, {unsendable} not sent"),
        }
    }
}

fn empty(header: impl IntoIterator<Item = &'static str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

fn file(case: &Case) -> String {
    case.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
