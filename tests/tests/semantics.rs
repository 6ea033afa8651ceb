//! Every case of `tests/cases/*.toml` against the reader, the compiler and the decision core, on the host.

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
