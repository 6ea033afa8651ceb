//! Searches against a linear look through the steps.

use fw_common::classify::search;
use fw_common::layout::{Kind, Root, Rule};
use fw_common::memory::MemoryTables;
use fw_common::{Address, Family};

use super::*;
use crate::compile::image::Held;
use crate::compile::lcg::Lcg;

fn value_at(steps: &[Step], key: u128) -> u32 {
    let behind = steps.partition_point(|(start, _)| *start <= key);
    steps[..behind].last().map_or(0, |(_, value)| *value)
}

fn check(random: &mut Lcg, steps: &[Step], family: Family) {
    let held = Held::nothing();
    let mut heap = Heap::beside(&held, usize::MAX);
    let place = if matches!(family, Family::V4) { 0 } else { 1 };
    let link = addresses(&mut heap, steps, place).expect("it fits");
    let mut tables = MemoryTables::new(1);
    tables.publish(&heap.finish(Root::default()).expect("it fits").image());
    let last = if place == 1 { u128::MAX } else { u128::from(u32::MAX) };
    let mut keys: Vec<u128> = vec![0, last];
    for (start, _) in steps {
        keys.extend([*start, start.saturating_sub(1), start.saturating_add(1).min(last)]);
    }
    keys.extend((0..100).map(|_| random.wide() & last));
    for key in keys {
        let address = match family {
            Family::V4 => Address::from_ipv4((key as u32).to_be_bytes()),
            Family::V6 => Address::from_ipv6(key.to_be_bytes()),
        };
        assert_eq!(search(&tables, link, family, &address), value_at(steps, key), "{key:#x}");
    }
}

#[test]
fn trees_find_what_a_linear_search_finds() {
    let mut random = Lcg::new(1);
    for round in 0..200 {
        let family = if round % 2 == 0 { Family::V4 } else { Family::V6 };
        let last = if round % 2 == 0 { u128::from(u32::MAX) } else { u128::MAX };
        // Keys that share chunks, keys on chunk borders, keys anywhere.
        let mut keys: Vec<u128> = (0..random.below(400))
            .map(|_| match random.below(4) {
                0 => random.wide() & last & !0xffff,
                1 => (0x0a14_0000 | (random.wide() & 0xffff)) & last,
                2 => ((random.wide() & 7) << 16 | (random.wide() & 0xff)) & last,
                _ => random.wide() & last,
            })
            .collect();
        keys.sort_unstable();
        let mut steps = vec![(0, 0)];
        for key in keys {
            push_step(&mut steps, key, random.below(9));
        }
        check(&mut random, &steps, family);
    }
}

#[test]
fn a_full_chunk_takes_three_inner_levels() {
    let steps: Vec<Step> = (0..65_536).map(|key| (key, key as u32 % 7)).collect();
    let held = Held::nothing();
    let mut heap = Heap::beside(&held, usize::MAX);
    let link = keys(&mut heap, &steps).expect("it fits");
    assert_eq!(link.kind(), Kind::Tree(3));
    let steps: Vec<Step> = (0..65_536).map(|key| (key << 16, key as u32 % 7)).collect();
    check(&mut Lcg::new(2), &steps[..3_000], Family::V4);
    let steps: Vec<Step> = (0..65_536).map(|key| (key << 112, key as u32 % 7)).collect();
    check(&mut Lcg::new(2), &steps[..3_000], Family::V6);
}

/// Lines that a search takes besides the root's.
fn lines(search: impl FnOnce(&mut Heap<'_>)) -> usize {
    let held = Held::nothing();
    let mut heap = Heap::beside(&held, usize::MAX);
    search(&mut heap);
    heap.finish(Root::default()).expect("it fits").lines.len() - 1
}

#[test]
fn few_intervals_are_one_line() {
    let steps =
        |count: u128, shift: u32| (0..count).map(|key| (key << shift, key as u32)).collect::<Vec<Step>>();
    for (family, count, shift, expected) in [(0, 1, 0, 0), (0, 8, 13, 1), (1, 5, 70, 1), (1, 5, 3, 2)] {
        let steps = steps(count, shift);
        let taken = lines(|heap| assert!(addresses(heap, &steps, family).is_ok()));
        assert_eq!(taken, expected, "{count} intervals of family {family}");
    }
    // Longer than 64 bits: what is above is skipped in one line, the rest is another.
    let steps: Vec<Step> = [(0, 0), (0x2001_0db8 << 96 | 5, 1), (0x2001_0db8 << 96 | 6, 0)].to_vec();
    assert_eq!(lines(|heap| assert!(addresses(heap, &steps, 1).is_ok())), 2);
}

/// In each of the first blocks of so many bits, so many steps at whole sixteenths.
fn in_blocks(bits: u32, width: u32, each: u128) -> Vec<Step> {
    let mut steps = vec![(0, 0)];
    for block in 0..(1u128 << (width - 4)).div_ceil(each).max(4) {
        for step in 1..=each {
            let value = if step == each { 0 } else { (block * each + step) as u32 };
            push_step(&mut steps, (block << 4 | step) << (bits - width - 4), value);
        }
    }
    steps
}

#[test]
fn tables_are_as_wide_as_their_networks_need() {
    for (family, bits, widths, each) in [(Family::V4, 32, 16..=19, 10), (Family::V6, 128, 4..=19, 4)] {
        for width in widths {
            let steps = in_blocks(bits, width, each);
            let held = Held::nothing();
            let mut heap = Heap::beside(&held, usize::MAX);
            let link = addresses(&mut heap, &steps, usize::from(bits == 128)).expect("it fits");
            assert_eq!(link.kind(), Kind::Table(width));
            check(&mut Lcg::new(5), &steps, family);
        }
    }
}

#[test]
fn many_steps_behind_one_chunk_have_a_table_in_the_middle() {
    let mut random = Lcg::new(6);
    let mut steps = vec![(0, 0)];
    let mut keys: Vec<u128> = (0..20_000u128)
        .map(|_| 0x2a10 << 112 | (random.wide() & 0xffff_ffff) << 80 | (random.wide() & 3) << 40)
        .collect();
    keys.sort_unstable();
    for key in keys {
        push_step(&mut steps, key, random.below(3));
    }
    check(&mut random, &steps, Family::V6);
}

#[test]
fn one_network_changes_in_a_table_of_any_width() {
    for width in 16..=19 {
        let mut steps = in_blocks(32, width, 10);
        let held = Held::nothing();
        let mut heap = Heap::beside(&held, usize::MAX);
        let link = addresses(&mut heap, &steps, 0).expect("it fits");
        let mut image = heap.finish(Root::default()).expect("it fits").image();
        let held =
            Held { lines: &image, is_held: vec![true; image.len()], pieces: Vec::new(), ranges: Vec::new() };
        let mut heap = Heap::sharing(&held, 0);
        let changed = steps[15].0;
        steps[15].1 = 7;
        let link = change_ipv4(&mut heap, link, &steps, &[changed]).expect("it fits");
        let patch = heap.finish(Root::default()).expect("it fits");
        // The table, one leaf, the root.
        assert_eq!(patch.lines.len() as u32, table_lines(width) + 2);
        image.resize(patch.end as usize, fw_common::layout::Line::default());
        for (number, line) in &patch.lines {
            image[*number as usize] = *line;
        }
        let mut tables = MemoryTables::new(1);
        tables.publish(&image);
        for (key, _) in &steps {
            for key in [key.saturating_sub(1), *key, key + 1] {
                let address = Address::from_ipv4((key as u32).to_be_bytes());
                assert_eq!(search(&tables, link, Family::V4, &address), value_at(&steps, key), "{key:#x}");
            }
        }
    }
}

/// Alternately so many values, each from a key on that is `gap` behind the one before, but for the last: the last key.
fn stripes(count: u128, values: u32, gap: u128) -> Vec<Step> {
    let key = |at| if at + 1 < count { at * gap } else { 0xffff };
    (0..count).map(|at| (0x0a14_0000 | key(at), 1 + at as u32 % values)).collect()
}

#[test]
fn few_values_by_turns_are_told_apart_in_any_number() {
    let mut random = Lcg::new(4);
    for values in [2, 3, 4, 5] {
        for count in (10..90).chain([638, 639, 700]) {
            let mut steps = vec![(0, 0)];
            steps.extend(stripes(count, values, 1 + u128::from(random.below(90))));
            // Around the network is what no rule names; its borders are ends as well.
            push_step(&mut steps, 0x0a15_0000, 0);
            check(&mut random, &steps, Family::V4);
        }
    }
}

#[test]
fn few_values_by_turns_take_few_lines() {
    // One line above for all networks, and with more than one below an inner line.
    for (count, values, expected) in
        [(11, 3, 2), (12, 3, 2), (22, 3, 2), (23, 3, 4), (44, 4, 4), (12, 5, 4), (638, 2, 31), (639, 2, 34)]
    {
        let mut steps = vec![(0, 0)];
        steps.extend(stripes(count, values, 100));
        push_step(&mut steps, 0x0a15_0000, 0);
        let taken = lines(|heap| assert!(addresses(heap, &steps, 0).is_ok()));
        assert_eq!(taken, expected, "{count} intervals of {values} values");
    }
}

#[test]
fn equal_chunks_share_their_tree() {
    let mut steps = vec![(0, 0)];
    for network in 1..=9u128 {
        push_step(&mut steps, network << 16 | 0x10, 1);
        push_step(&mut steps, network << 16 | 0x20, 0);
    }
    // One tree of the second chunk, one leaf above.
    assert_eq!(lines(|heap| assert!(addresses(heap, &steps, 0).is_ok())), 2);
}

#[test]
fn a_function_that_repeats_in_every_chunk_stays_a_search() {
    let mut steps = Vec::new();
    for network in 0..65_536u128 {
        push_step(&mut steps, network << 16, 0);
        push_step(&mut steps, network << 16 | 1, 1);
    }
    assert_eq!(lines(|heap| assert!(addresses(heap, &steps, 0).is_ok())), 2);
}

#[test]
fn one_range_of_keys_takes_a_quarter_of_a_line() {
    let rule = |slot| Rule::new(true, false, false, slot).0;
    let ranges = [
        vec![(0, 0), (80, rule(1)), (81, 0)],
        vec![(0, 0), (443, rule(2)), (444, 0)],
        vec![(0, rule(3)), (1024, 0)],
        vec![(0, 0), (0xffff, rule(4))],
    ];
    let taken = lines(|heap| ranges.iter().for_each(|steps| assert!(keys(heap, steps).is_ok())));
    assert_eq!(taken, 1);
}
