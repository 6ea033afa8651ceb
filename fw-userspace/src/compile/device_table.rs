//! Interface index → interface: one line per bucket, so many buckets that none overflows.

use fw_common::layout::{DEVICES_PER_BUCKET, Line};

use super::CompileError;
use super::heap::{Full, Heap};

/// Buckets that are tried at most: 4 MiB.
const MAX_BUCKETS: u32 = 1 << 16;

/// The first bucket and the mask, for pairs of interface index and line.
pub(super) fn build(heap: &mut Heap, devices: &[(u32, u32)]) -> Result<(u32, u32), CompileError> {
    let mut buckets = 1;
    let lines = loop {
        if let Some(lines) = fill(devices, buckets) {
            break lines;
        }
        if buckets >= MAX_BUCKETS {
            return Err(CompileError::TooManyDevices { devices: devices.len() });
        }
        buckets *= 2;
    };
    let first = heap.next_line();
    for line in lines {
        heap.push(line).map_err(|Full| CompileError::TooLarge { what: "the device table".to_owned() })?;
    }
    Ok((first, buckets - 1))
}

fn fill(devices: &[(u32, u32)], buckets: u32) -> Option<Vec<Line>> {
    let mut lines = vec![Line::default(); buckets as usize];
    let mut used = vec![0; buckets as usize];
    for (ifindex, interface) in devices {
        let bucket = (ifindex & (buckets - 1)) as usize;
        if used[bucket] >= DEVICES_PER_BUCKET as usize {
            return None;
        }
        lines[bucket].0[used[bucket]] = u64::from(*ifindex) | u64::from(*interface) << 32;
        used[bucket] += 1;
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_until_none_overflows() {
        let devices: Vec<(u32, u32)> = (1..=300).map(|ifindex| (ifindex * 4, ifindex)).collect();
        let mut heap = Heap::new();
        let (first, mask) = build(&mut heap, &devices).expect("it fits");
        for (ifindex, interface) in devices {
            let line = heap.lines()[(first + (ifindex & mask)) as usize];
            let pair = u64::from(ifindex) | u64::from(interface) << 32;
            assert!(line.0.contains(&pair), "{ifindex}");
        }
    }

    #[test]
    fn indexes_that_cannot_be_spread_are_an_error() {
        let devices: Vec<(u32, u32)> = (1..=9).map(|ifindex| (ifindex << 20, ifindex)).collect();
        let error = build(&mut Heap::new(), &devices);
        assert_eq!(error, Err(CompileError::TooManyDevices { devices: 9 }));
    }
}
