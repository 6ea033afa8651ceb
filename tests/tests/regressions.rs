//! Every input that fuzzing has ever found, replayed: `tests/fuzz/regressions/TARGET/NAME`.

use std::path::Path;

use fw_tests::fuzz;

#[test]
fn found_inputs_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let mut replayed = 0;
    for target in std::fs::read_dir(&folder).expect("there is a folder of regressions") {
        let target = target.expect("a readable folder");
        if !target.path().is_dir() {
            continue;
        }
        for input in std::fs::read_dir(target.path()).expect("a readable folder") {
            let input = input.expect("a readable folder").path();
            // Printed by a test that fails.
            println!("{}", input.display());
            let bytes = std::fs::read(&input).expect("a readable file");
            fuzz::run(&target.file_name().to_string_lossy(), &bytes);
            replayed += 1;
        }
    }
    assert!(replayed >= fuzz::TARGETS.len(), "only {replayed} inputs in {}", folder.display());
}
