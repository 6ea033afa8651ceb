//! What is done, sent, expected and seen, told as it happens and once more in a table.

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use fw_tests::fwctl::{Deciders, RULES};
use fw_tests::traffic::Outcome;
use serde_json::Value;

use crate::rules;
use crate::world::Host;

/// The steps so far.
#[derive(Default)]
pub(crate) struct Story {
    step: String,
    rows: Vec<Row>,
}

struct Row {
    step: String,
    sent: String,
    expected: String,
    seen: String,
    by: String,
    right: bool,
}

impl Story {
    /// Begins a step: its name for the table, and a sentence.
    pub(crate) fn step(&mut self, name: &str, sentence: &str) {
        println!("\n=== {name}\n{}", wrapped(sentence));
        self.step = name.to_owned();
    }

    /// Says something in between.
    pub(crate) fn say(&self, sentence: &str) {
        println!("{}", wrapped(sentence));
    }

    /// Makes rules the enforced ones on a host.
    pub(crate) fn load(&self, host: &Host, rules: &Value) -> Result<()> {
        println!("  {0}# fwctl load {0}.json", host.name);
        for line in rules::summary(rules) {
            println!("      {line}");
        }
        host.fwctl()?.load(rules)?;
        host.filters.set(true);
        Ok(())
    }

    /// Loads rules that have to be refused for this reason.
    pub(crate) fn refused(&mut self, host: &Host, rules: &Value, because: &str) -> Result<()> {
        println!("  {0}# fwctl load {0}.json", host.name);
        let output = host.fwctl()?.run_with(["load", RULES], &serde_json::to_vec_pretty(rules)?)?;
        for line in output.stderr.lines() {
            println!("      {}", line.replace("<stdin>", &format!("{}.json", host.name)));
        }
        let right = output.code() == 2 && output.stderr.contains(because);
        let seen = format!("exit {}{}", output.code(), if right { ", names it" } else { "" });
        let by = format!("{}: fwctl load", host.name);
        self.row("the same with a deny in a group", "exit 2, names it", &seen, &by, right);
        Ok(())
    }

    /// Sends something through hosts, and compares what became of it and which of their rules decided.
    pub(crate) fn expect(
        &mut self,
        path: &[&Host],
        sent: &str,
        expected: Outcome,
        by: &str,
        send: impl FnOnce() -> Result<Outcome>,
    ) -> Result<()> {
        let before = path.iter().map(|host| host.counters()).collect::<Result<Vec<_>>>()?;
        let seen = send()?;
        let mut deciders = Vec::new();
        for (host, before) in path.iter().zip(before) {
            if let (Some(before), Some(after)) = (before, host.counters()?) {
                let found = of_interest(after.since(&before), seen);
                deciders.extend(found.into_iter().map(|decider| format!("{}: {decider}", host.name)));
            }
        }
        let known = deciders.iter().any(|decider| decider == by) || by == NOBODY && deciders.is_empty();
        let found = match (known, deciders.is_empty()) {
            (true, _) => by.to_owned(),
            (false, true) => NOBODY.to_owned(),
            (false, false) => deciders.join(", "),
        };
        let right = seen == expected && known;
        self.row(sent, word(expected), word(seen), &found, right);
        if !known {
            println!("  but        {by} should have decided");
        }
        Ok(())
    }

    fn row(&mut self, sent: &str, expected: &str, seen: &str, by: &str, right: bool) {
        let mark = if right { "" } else { "   <-- not as expected" };
        println!(
            "  sent       {sent}\n  expected   {expected}\n  seen       {seen}{mark}\n  decided by {by}\n"
        );
        let [step, sent, expected, seen, by] = [&self.step, sent, expected, seen, by].map(str::to_owned);
        self.rows.push(Row { step, sent, expected, seen, by, right });
    }

    /// All rows.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["step", "sent", "expected", "seen", "decided by"]);
        let mut last = "";
        for row in &self.rows {
            let step = if row.step == last { "" } else { &row.step };
            let seen = if row.right { row.seen.clone() } else { format!("{} (wrong)", row.seen) };
            table.add_row([step, &row.sent, &row.expected, &seen, &row.by]);
            last = &row.step;
        }
        table
    }

    /// How many were sent.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many came out otherwise.
    pub(crate) fn wrong(&self) -> usize {
        self.rows.iter().filter(|row| !row.right).count()
    }
}

/// No rule decided, because none is loaded.
pub(crate) const NOBODY: &str = "nobody filters";

fn of_interest(deciders: Deciders, seen: Outcome) -> Vec<String> {
    match seen {
        Outcome::Blocked => deciders.dropped,
        _ => deciders.rules.into_iter().chain(deciders.passed).collect(),
    }
}

/// At most a hundred characters a line.
fn wrapped(sentence: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for word in sentence.split_whitespace() {
        let between = match width {
            0 => "",
            _ if width + 1 + word.len() > 100 => "\n",
            _ => " ",
        };
        width = if between == " " { width + 1 + word.len() } else { word.len() };
        text.extend([between, word]);
    }
    text
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "answered",
        Outcome::Refused => "refused",
        Outcome::Blocked => "blocked",
    }
}
