//! The words for what happens to a packet, as people look them up: `docs/reasons.md` is printed from
//! [`fw_common::Reason`], which also names the counters.

use std::fmt::Write as _;

use fw_common::{Reason, Verdict};

/// The text of `docs/reasons.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Every packet is counted under one reason. `fwctl stats` prints these words, and nothing uses others. This page\n\
         is generated from the table in `fw-common/src/verdict.rs`.\n",
    );
    section(&mut text, "Of a pass", "", Verdict::Pass);
    section(
        &mut text,
        "Of a drop",
        "With `enforce: false` these are counted as `would_deny` and the packet passes.\n\n",
        Verdict::Drop,
    );
    text
}

fn section(text: &mut String, title: &str, about: &str, verdict: Verdict) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n## {title}\n\n{about}| reason | layer | says |\n| --- | --- | --- |\n");
    for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == verdict) {
        let _ = writeln!(text, "| `{}` | `{}` | {} |", reason.name(), reason.layer().name(), reason.says());
    }
}
