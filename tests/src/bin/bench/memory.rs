//! Part `memory`: what reading a line costs that lies anywhere in an array, when the line before says where. A search is
//! such reads one after the other, so this is what no filter with tables of that size can do without.

use anyhow::{Result, ensure};
use fw_tests::instruments::{Instruments, READS};
use fw_tests::random::Random;
use serde::Serialize;

use crate::figures::Sample;
use crate::options::Options;
use crate::results::{self, Results};

/// Kilobytes: from what the second cache of a core holds to what no cache does.
const SIZES: [u32; 9] = [256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const LINE: u32 = 64;
/// In each round: a million reads.
const REPEAT: u32 = 1000;

/// The figures of one size.
#[derive(Serialize)]
struct Row {
    kilobytes: u32,
    ns: Sample,
}

/// The whole part.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let mut arrays = Vec::new();
    for kilobytes in SIZES {
        arrays.push(Instruments::with_lines(&circle(kilobytes * 1024 / LINE))?);
    }
    let samples = options.rounds(|| arrays.iter_mut().map(read).collect())?;
    let rows: Vec<Row> =
        SIZES.into_iter().zip(samples).map(|(kilobytes, ns)| Row { kilobytes, ns }).collect();
    let mut table = results::table(&["an array of", "ns a read"]);
    for Row { kilobytes, ns } in &rows {
        table.add_row([format!("{kilobytes} KB"), ns.show(1)]);
    }
    println!("{table}");
    println!("\nOne dependent read of a 64-byte line in pages of 4 KB, nothing else in between.");
    results.take("memory", rows, Vec::new())
}

/// Nanoseconds of one read.
fn read(array: &mut Instruments) -> Result<f64> {
    const XDP_DROP: u32 = 1;
    let (code, ns) = array.time("chase", &[0; 64], REPEAT)?;
    ensure!(code == XDP_DROP, "chase returned {code}");
    Ok(ns as f64 / f64::from(READS))
}

/// All lines in one circle, in any order (Sattolo's algorithm).
fn circle(lines: u32) -> Vec<u32> {
    let mut random = Random(u64::from(lines));
    let mut next: Vec<u32> = (0..lines).collect();
    for at in (1..next.len()).rev() {
        next.swap(at, random.below(at));
    }
    next
}
