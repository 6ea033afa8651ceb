//! Part `reload`: what 1,000 reloads do to packets that come as fast as one CPU makes them, see [`fw_tests::reload`].

use anyhow::Result;
use fw_tests::reload;

use crate::figures::{Goal, Limit, Sample};
use crate::options::Options;
use crate::results::{self, Results};

/// Part `reload`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let reloads = if options.quick { 100 } else { 1000 };
    let header =
        ["filter", "reloads", "frames", "lost", "let in", "mixed", "passed of those that take turns"];
    let mut table = results::table(&header);
    let mut outcomes = Vec::new();
    let mut goals = Vec::new();
    for mode in ["xdp", "tc"] {
        let outcome = reload::run(mode, reloads)?;
        let [one, other] = outcome.turns;
        let numbers = [outcome.frames, outcome.lost, outcome.let_in, outcome.mixed];
        let mut row = vec![format!("fwctl, mode {mode}"), reloads.to_string()];
        row.extend(numbers.iter().map(u64::to_string));
        row.push(format!("{one}, {other}"));
        table.add_row(row);
        let wrong = (outcome.lost + outcome.let_in + outcome.mixed) as f64;
        let what = format!("{reloads} reloads under load, {mode}: lost, let in or mixed");
        goals.push(Goal::new(what, "frames", Limit::AtMost(0.0), Sample(vec![wrong])));
        outcomes.push((mode, outcome));
    }
    println!("{table}");
    results.take("reload", outcomes, goals)
}
