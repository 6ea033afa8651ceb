//! What the programs print, read into one row of the table.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use super::initramfs::TESTS;

/// What held of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    held: usize,
    all: usize,
}

impl Count {
    fn add(&mut self, held: bool) {
        self.all += 1;
        self.held += usize::from(held);
    }

    fn all_held(self) -> bool {
        self.all > 0 && self.held == self.all
    }

    fn text(self) -> String {
        if self.all == 0 { "-".to_owned() } else { format!("{} of {}", self.held, self.all) }
    }
}

/// The same by TC and by XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    tc: Count,
    xdp: Count,
}

impl Counts {
    fn at(&mut self, hook: &str) -> &mut Count {
        if hook.contains("xdp") { &mut self.xdp } else { &mut self.tc }
    }

    fn all_held(self) -> bool {
        self.tc.all_held() && self.xdp.all_held()
    }

    fn text(self) -> String {
        format!("{}, {}", self.tc.text(), self.xdp.text())
    }
}

/// One kernel.
#[derive(Debug, Default)]
pub(super) struct Row {
    kernel: String,
    /// README says that it works.
    pub(super) supported: bool,
    seconds: u64,
    programs: Vec<(String, u64)>,
    bytecode: Counts,
    /// Asked for or not.
    wire: Option<Counts>,
    traffic: Counts,
    /// Received and sent side, for `mode: tc` and `mode: xdp`.
    hooks: Vec<String>,
    fallbacks: BTreeSet<String>,
    faults: Vec<String>,
    checked: bool,
    tests_ended: usize,
    tests_passed: usize,
}

impl Row {
    pub(super) fn new(wire: bool) -> Self {
        Self { wire: wire.then(Counts::default), ..Self::default() }
    }

    /// Takes a line in; the news in it, for people who wait.
    pub(super) fn read<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            self.traffic.at(name).add(result == "ok");
            if result != "ok" {
                self.faults.push(format!("{name}: {result}"));
            }
            return Some(line);
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.tests_ended += 1;
            // A line of a test that something else was printed into would be missed.
            let passed =
                result.split(' ').zip(result.split(' ').skip(1)).find(|(_, word)| *word == "passed;");
            self.tests_passed += passed.and_then(|(count, _)| count.parse::<usize>().ok()).unwrap_or(0);
            return Some(line);
        }
        let news = line.strip_prefix("check: ")?;
        let (word, rest) = news.split_once(' ').unwrap_or((news, ""));
        match (word, rest.split_once(' ')) {
            ("program", Some((name, verified))) => {
                self.programs.push((name.to_owned(), verified.parse().unwrap_or(0)));
            }
            ("bytecode" | "wire", Some((hook, counts))) => {
                let (held, all) = counts.split_once(" of ").unwrap_or_default();
                let counts =
                    if word == "wire" { self.wire.get_or_insert_default() } else { &mut self.bytecode };
                *counts.at(hook) = Count { held: held.parse().unwrap_or(0), all: all.parse().unwrap_or(0) };
            }
            ("hooks", Some((mode, hooks))) if mode != "auto" => {
                self.hooks.push(format!("{mode}: {}", hooks.replace(' ', " / ")));
            }
            ("fallback", _) => drop(self.fallbacks.insert(rest.to_owned())),
            ("fault", _) => self.faults.push(rest.to_owned()),
            ("done", _) => self.checked = true,
            _ => {}
        }
        Some(news)
    }

    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// All programs came to their end.
    pub(super) fn is_complete(&self) -> bool {
        self.checked && self.tests_ended == TESTS.len()
    }

    pub(super) fn passed(&self) -> bool {
        self.is_complete()
            && self.faults.is_empty()
            && FILTERS.iter().all(|name| self.verified(name).is_some())
            && self.hooks.len() == 2
            && self.bytecode.all_held()
            && self.wire.is_none_or(Counts::all_held)
            && self.traffic.all_held()
            && self.traffic.tc.held + self.traffic.xdp.held == self.tests_passed
    }

    pub(super) fn finish(&mut self, kernel: &str, supported: bool, took: Duration) {
        kernel.clone_into(&mut self.kernel);
        self.supported = supported;
        self.seconds = took.as_secs();
    }

    pub(super) fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Instructions that the verifier looked at in a program.
    fn verified(&self, program: &str) -> Option<u64> {
        self.programs.iter().find(|(name, _)| name == program).map(|(_, verified)| *verified)
    }

    fn cells(&self) -> [String; 9] {
        let [xdp, tc @ ..] = FILTERS
            .map(|name| self.verified(name).map_or_else(|| "-".to_owned(), |verified| verified.to_string()));
        let tc = tc.join(" / ");
        let fallbacks: Vec<&str> = self.fallbacks.iter().map(String::as_str).collect();
        [
            self.kernel.clone(),
            xdp,
            tc,
            self.bytecode.text(),
            self.wire.map_or_else(|| "not run".to_owned(), Counts::text),
            self.traffic.text(),
            self.hooks.join(", "),
            if fallbacks.is_empty() { "none".to_owned() } else { fallbacks.join("; ") },
            format!("{}, {} s", if self.passed() { "passed" } else { "FAILED" }, self.seconds),
        ]
    }
}

/// The programs that filter: received at XDP, then received and sent at TC.
const FILTERS: [&str; 3] = ["xdp_received", "tc_received", "tc_sent"];

const HEAD: [&str; 9] = [
    "kernel",
    "XDP verified",
    "TC verified (received / sent)",
    "bytecode TC, XDP",
    "wire TC, XDP",
    "sockets TC, XDP",
    "hooks by mode (received / sent)",
    "fallbacks",
    "result",
];

/// As Markdown, with what went wrong below it.
pub(super) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        widest.max(HEAD[column].len())
    };
    let mut text = String::new();
    let mut line = |row: &[&str], fill: char| {
        for (column, cell) in row.iter().enumerate() {
            let padding: String = std::iter::repeat_n(fill, width(column) - cell.chars().count()).collect();
            let _ = write!(text, "| {cell}{padding} ");
        }
        text.push_str("|\n");
    };
    line(&HEAD, ' ');
    line(&["---"; 9], '-');
    for row in &cells {
        line(&row.each_ref().map(String::as_str), ' ');
    }
    for row in rows.iter().filter(|row| !row.faults.is_empty()) {
        let _ = write!(text, "\n{}:\n", row.kernel);
        for fault in &row.faults {
            let _ = writeln!(text, "  {fault}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
check: kernel 6.1.0
check: program xdp_received 231
check: program tc_received 232
check: program tc_sent 233
check: program explain_sent 234
[    3.2] a word of the kernel
check: bytecode tc 2 of 2
check: bytecode xdp 2 of 2
check: wire tc 3 of 3
check: wire xdp 3 of 3
check: hooks tc tc tc
check: fallback a clsact filter
check: hooks xdp xdp tc
check: hooks auto tc tc
check: done
running 2 tests
test twenty_at_tc ... ok
test twenty_at_xdp ... ok

test result: ok. 2 passed; 0 failed
running 1 test
test unload ... ok

test result: ok. 1 passed; 0 failed
";

    fn row(text: &str) -> Row {
        let mut row = Row::new(true);
        for line in text.lines() {
            row.read(line);
        }
        row.finish("6.1.0", true, Duration::from_secs(5));
        row
    }

    #[test]
    fn a_row_is_what_was_printed() {
        let row = row(GOOD);
        assert!(row.passed(), "{row:?}");
        let cells = ["6.1.0", "231", "232 / 233", "2 of 2, 2 of 2", "3 of 3, 3 of 3", "2 of 2, 1 of 1"];
        let rest = ["tc: tc / tc, xdp: xdp / tc", "a clsact filter", "passed, 5 s"];
        assert_eq!(row.cells()[..6], cells);
        assert_eq!(row.cells()[6..], rest);
    }

    #[test]
    fn whatever_is_missing_or_wrong_fails_a_row() {
        for line in
            GOOD.lines().filter(|line| !["kernel", "auto", "explain"].iter().any(|word| line.contains(word)))
        {
            let without: String =
                GOOD.lines().filter(|other| *other != line).map(|other| format!("{other}\n")).collect();
            let is_result = ["check: ", "test "].iter().any(|word| line.starts_with(word));
            assert_eq!(row(&without).passed(), !is_result || line.contains("fallback"), "without {line}");
        }
        assert!(!row(&GOOD.replace("bytecode xdp 2", "bytecode xdp 1")).passed());
        let failed = row(&GOOD.replace("_at_xdp ... ok", "_at_xdp ... FAILED"));
        assert!(!failed.passed());
        assert!(table(&[failed]).contains("twenty_at_xdp: FAILED"));
        assert!(!row(&GOOD.replace("check: done", "check: fault it broke\ncheck: done")).passed());
    }
}
