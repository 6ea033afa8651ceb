//! Interface index → interface: one line per bucket, so many buckets that none overflows.

use fw_common::layout::{DEVICES_PER_BUCKET, Line};

use super::CompileError;
use super::heap::{Full, Heap};

/// Buckets that are tried at most: 4 MiB.
const MAX_BUCKETS: u32 = 1 << 16;

/// The first bucket and the mask, for pairs of interface index and line.
pub(super) fn build(heap: &mut Heap<'_>, devices: &[(u32, u32)]) -> Result<(u32, u32), CompileError> {
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
    let too_large = |Full| CompileError::TooLarge { what: "the device table".to_owned() };
    Ok((heap.piece(&lines).map_err(too_large)?, buckets - 1))
}

fn fill(devices: &[(u32, u32)], buckets: u32) -> Option<Vec<Line>> {
    let mut lines = vec![Line::default(); buckets as usize];
    let mut used = vec![0; buckets as usize];
    for (ifindex, interface) in devices {
        let bucket = (ifindex & (buckets - 1)) as usize;
        if used[bucket] >= DEVICES_PER_BUCKET {
            return None;
        }
        lines[bucket].set_long(used[bucket], u64::from(*ifindex) | u64::from(*interface) << 32);
        used[bucket] += 1;
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use fw_common::layout::Root;

    use super::*;
    use crate::compile::image::Held;

    #[test]
    fn buckets_grow_until_none_overflows() {
        let devices: Vec<(u32, u32)> = (1..=300).map(|ifindex| (ifindex * 4, ifindex)).collect();
        let held = Held::nothing();
        let mut heap = Heap::beside(&held, 1 << 16);
        let (first, mask) = build(&mut heap, &devices).expect("it fits");
        let image = heap.finish(Root::default()).expect("it fits").image();
        for (ifindex, interface) in devices {
            let line = image[(first + (ifindex & mask)) as usize];
            let pair = u64::from(ifindex) | u64::from(interface) << 32;
            assert!((0..DEVICES_PER_BUCKET).any(|place| line.long(place) == pair), "{ifindex}");
        }
    }

    #[test]
    fn indexes_that_cannot_be_spread_are_an_error() {
        let devices: Vec<(u32, u32)> = (1..=9).map(|ifindex| (ifindex << 20, ifindex)).collect();
        let held = Held::nothing();
        let error = build(&mut Heap::beside(&held, 1 << 16), &devices);
        assert_eq!(error, Err(CompileError::TooManyDevices { devices: 9 }));
    }
}
