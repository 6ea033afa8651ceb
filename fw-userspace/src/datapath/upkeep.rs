//! The connections of programs that run are changed by programs alone ([`fw_common::store::upkeep`]): what is here runs
//! them. A command that is killed has done a part of its work, and each part is whole.

use std::path::Path;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use fw_common::FlowKey;
use fw_common::conntrack::{Class, Connection};
use fw_common::store::upkeep::{FLUSHED, MOVED, Moved, OFFSET, STRIDE, Swept};

use super::connections::Founded;
use super::programs::{FLUSH, MOVE_IN, SWEEP, tc_program};
use super::store::Store;
use crate::error::{Error, Result};

/// Removes expired connections until every bucket has had its turn or this time is over; how many that were. The next
/// sweep goes on where this one ends.
pub fn sweep(store: &Store, time: Duration) -> Result<u64> {
    let program = tc_program(&store.programs(), SWEEP)?;
    let layout = Founded::of(&store.maps())?.layout;
    let start = Instant::now();
    let (mut strides, mut removed) = (0, 0);
    while strides < layout.ipv4.max(layout.ipv6).div_ceil(STRIDE) && start.elapsed() < time {
        let swept = Swept(run(&program, SWEEP, &[0; OFFSET as usize])?);
        strides += swept.strides();
        removed += u64::from(swept.removed());
    }
    Ok(removed)
}

/// Forgets connections; how many of them were there.
pub(super) fn flush(store: &Store, keys: impl Iterator<Item = FlowKey>) -> Result<u64> {
    let program = tc_program(&store.programs(), FLUSH)?;
    in_frames(keys, FLUSHED, key_bytes, |frame| run(&program, FLUSH, frame))
}

/// Takes over connections of another table, by the programs pinned in a directory; how many of them had no room.
pub(super) fn move_in(
    programs: &Path,
    connections: impl Iterator<Item = (FlowKey, Connection, Class)>,
) -> Result<u64> {
    add(programs, connections, 0)
}

/// The same for new connections, as many as there may be; how many found no room.
pub(super) fn insert(
    store: &Store,
    connections: impl Iterator<Item = (FlowKey, Connection, Class)>,
) -> Result<u64> {
    add(&store.programs(), connections, Moved::LIMITED)
}

fn add(
    programs: &Path,
    connections: impl Iterator<Item = (FlowKey, Connection, Class)>,
    flags: u64,
) -> Result<u64> {
    let program = tc_program(programs, MOVE_IN)?;
    let bytes = |(key, connection, class): &(FlowKey, Connection, Class), frame: &mut Vec<u8>| {
        key_bytes(key, frame);
        let class = u64::from(class.code());
        for word in connection.0.into_iter().chain([class | flags]) {
            frame.extend(word.to_ne_bytes());
        }
    };
    in_frames(connections, MOVED, bytes, |frame| run(&program, MOVE_IN, frame))
}

/// So many values in a frame; the sum of what its runs return.
fn in_frames<T>(
    mut values: impl Iterator<Item = T>,
    most: u32,
    write: impl Fn(&T, &mut Vec<u8>),
    mut run: impl FnMut(&[u8]) -> Result<u32>,
) -> Result<u64> {
    let mut sum = 0;
    loop {
        let mut frame = vec![0; OFFSET as usize];
        values.by_ref().take(most as usize).for_each(|value| write(&value, &mut frame));
        if frame.len() == OFFSET as usize {
            return Ok(sum);
        }
        sum += u64::from(run(&frame)?);
    }
}

fn key_bytes(key: &FlowKey, frame: &mut Vec<u8>) {
    let FlowKey { zone, protocol, local, remote, local_port, remote_port, reserved } = *key;
    [zone, protocol].iter().for_each(|word| frame.extend(word.to_ne_bytes()));
    for word in [local.high, local.low, remote.high, remote.low] {
        frame.extend(word.to_ne_bytes());
    }
    [local_port, remote_port].iter().for_each(|port| frame.extend(port.to_ne_bytes()));
    frame.extend(reserved.to_ne_bytes());
}

fn run(program: &SchedClassifier, name: &str, frame: &[u8]) -> Result<u32> {
    let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
    let result = program.test_run(options);
    let result = result.map_err(|error| Error::system(format!("cannot run the program \"{name}\": {error}")));
    Ok(result?.return_value)
}
