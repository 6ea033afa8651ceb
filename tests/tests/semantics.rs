//! Every case of `tests/cases/*.toml` against the reader, the compiler and the decision core, on the host; and against
//! the oracle that the core is compared with.

use std::fmt::Write as _;

use fw_tests::{case, run};

#[test]
fn every_case_holds() {
    let cases = case::load().expect("the cases are well-formed");
    let mut failures = String::new();
    let mut failed = 0;
    for case in &cases {
        let found = run::host::failures(case);
        if found.is_empty() {
            continue;
        }
        failed += 1;
        let _ = writeln!(failures, "{}: {}", case.place(), case.says);
        for failure in found {
            let _ = writeln!(failures, "    {failure}");
        }
    }
    assert!(failed == 0, "{failed} of {} cases fail:\n{failures}", cases.len());
}

#[test]
fn every_case_that_can_be_told_holds_in_the_oracle() {
    let cases = case::load().expect("the cases are well-formed");
    let mut failures = String::new();
    let (mut asked, mut failed) = (0, 0);
    for case in cases.iter().filter(|case| case.refused.is_none()) {
        let Some(found) = run::oracle::failures(case) else { continue };
        asked += 1;
        if found.is_empty() {
            continue;
        }
        failed += 1;
        let _ = writeln!(failures, "{}: {}", case.place(), case.says);
        for failure in found {
            let _ = writeln!(failures, "    {failure}");
        }
    }
    assert!(failed == 0, "{failed} of {asked} cases fail:\n{failures}");
    assert!(asked * 4 > cases.len() * 3, "only {asked} of {} cases can be told", cases.len());
}
