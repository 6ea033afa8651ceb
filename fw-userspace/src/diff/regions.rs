//! Cells put together: as few regions as the change itself has, each a set of remote addresses, a set of keys of one
//! protocol and a set of addresses of the interface's end. The regions of one change never overlap.

use std::collections::BTreeSet;
use std::rc::Rc;

use fw_common::address::Family;
use indexmap::IndexMap;

use super::compare::{Cell, Changed};
use super::ends::{self, Intervals};
use super::keys::{self, KeySets, Range, Row};
use super::shared::{Shape, Shared};

/// Traffic whose verdict changes in the same way.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) shape: Rc<Shape>,
    pub(super) local: Intervals,
}

/// Keys of one protocol, or everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Service {
    Everything,
    Tcp(Vec<Range>),
    Udp(Vec<Range>),
    /// The family's own.
    Icmp(Vec<Range>),
    Other(Vec<Range>),
}

/// Remote addresses that are held together while keys are gone through. Beyond that regions go by address instead of
/// by key: still exact, but not as few.
const MOST_HELD: usize = 1 << 24;

/// The shapes of cells, those that open first.
pub(super) fn shapes(
    cells: &[Cell],
    family: Family,
    keys: &mut KeySets,
    shared: &mut Shared,
) -> Vec<Rc<Shape>> {
    let possible = keys.possible(family);
    let mut shapes = Vec::new();
    for opens in [true, false] {
        let row = |cell: &Cell| if opens { cell.opened } else { cell.closed };
        let mut by_row: IndexMap<Row, Intervals> = IndexMap::new();
        for cell in cells.iter().filter(|cell| row(cell) != KeySets::NOTHING) {
            by_row.entry(row(cell)).or_default().push((cell.first, cell.last));
        }
        let rows: Vec<Row> = by_row.keys().copied().collect();
        for (places, by_column) in by_keys(&rows, keys) {
            let remote = places.iter().filter_map(|place| by_row.get_index(*place));
            let remote = ends::merged(remote.flat_map(|(_, remote)| remote).copied().collect());
            let services = services(by_column, possible, keys).into_iter();
            shapes.extend(services.map(|service| shared.shape(opens, service, &remote)));
        }
    }
    shapes
}

/// The regions of a change.
pub(super) fn regions(changed: &[Changed]) -> Vec<Region> {
    let mut found: IndexMap<*const Shape, Region> = IndexMap::new();
    for opens in [true, false] {
        for Changed { local, shapes } in changed {
            for shape in shapes.iter().filter(|shape| shape.opens == opens) {
                let region = found.entry(Rc::as_ptr(shape));
                let region =
                    region.or_insert_with(|| Region { shape: Rc::clone(shape), local: Intervals::new() });
                region.local.extend(local);
            }
        }
    }
    let merged = |Region { shape, local }| Region { shape, local: ends::merged(local) };
    found.into_values().map(merged).collect()
}

/// By sets of rows, the keys that are in exactly those.
fn by_keys(rows: &[Row], keys: &KeySets) -> IndexMap<Vec<usize>, [Vec<Range>; 4]> {
    let mut found: IndexMap<Vec<usize>, [Vec<Range>; 4]> = IndexMap::new();
    let mut held = 0;
    for column in 0..4 {
        // Where rows begin and where they have ended, behind the last key too.
        let mut borders: Vec<(u32, bool, usize)> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            for (from, to) in keys.ranges(row[column]) {
                borders.extend([(u32::from(*from), true, place), (u32::from(*to) + 1, false, place)]);
            }
        }
        borders.sort_unstable();
        let mut inside: BTreeSet<usize> = BTreeSet::new();
        let mut start = 0;
        for at in borders.chunk_by(|one, other| one.0 == other.0) {
            if !inside.is_empty() {
                held += inside.len();
                if held > MOST_HELD {
                    return by_row(rows, keys);
                }
                let ranges = &mut found.entry(inside.iter().copied().collect()).or_default()[column];
                ranges.push((start as u16, (at[0].0 - 1) as u16));
            }
            for (_, begins, place) in at {
                if *begins {
                    inside.insert(*place)
                } else {
                    inside.remove(place)
                };
            }
            start = at[0].0;
        }
    }
    for by_column in found.values_mut() {
        for ranges in by_column {
            *ranges = keys::merged(std::mem::take(ranges));
        }
    }
    found
}

fn by_row(rows: &[Row], keys: &KeySets) -> IndexMap<Vec<usize>, [Vec<Range>; 4]> {
    let of_row = |(place, row): (usize, &Row)| (vec![place], row.map(|set| keys.ranges(set).to_vec()));
    rows.iter().enumerate().map(of_row).collect()
}

fn services(by_column: [Vec<Range>; 4], possible: Row, keys: &KeySets) -> Vec<Service> {
    if by_column.iter().zip(possible).all(|(ranges, possible)| *ranges == keys.ranges(possible)) {
        return vec![Service::Everything];
    }
    let [tcp, udp, icmp, other] = by_column;
    let all = [Service::Tcp(tcp), Service::Udp(udp), Service::Icmp(icmp), Service::Other(other)];
    all.into_iter().filter(|service| !service.ranges().is_empty()).collect()
}

impl Service {
    /// Nothing of its protocol is left out.
    pub(super) fn has_all_keys(&self, family: Family) -> bool {
        match self {
            Self::Everything => true,
            Self::Tcp(ranges) | Self::Udp(ranges) | Self::Icmp(ranges) => *ranges == [(0, u16::MAX)],
            Self::Other(ranges) => *ranges == keys::other_protocols(family),
        }
    }

    /// Keys; none for everything.
    pub(super) fn ranges(&self) -> &[Range] {
        match self {
            Self::Everything => &[],
            Self::Tcp(ranges) | Self::Udp(ranges) | Self::Icmp(ranges) | Self::Other(ranges) => ranges,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (bool, Service, Intervals);

    fn region(opens: bool, service: Service, remote: &[(u128, u128)]) -> Found {
        (opens, service, remote.to_vec())
    }

    fn found(cells: &[Cell], keys: &mut KeySets) -> Vec<Found> {
        let local: Intervals = vec![(0, u128::from(u32::MAX))];
        let shapes = shapes(cells, Family::V4, keys, &mut Shared::default()).into();
        let regions = regions(&[Changed { local: local.clone(), shapes }]);
        assert!(regions.iter().all(|region| region.local == local));
        let plain = |Region { shape, .. }| (shape.opens, shape.service.clone(), shape.remote.to_vec());
        regions.into_iter().map(plain).collect()
    }

    #[test]
    fn keys_that_change_for_the_same_addresses_are_one_region() {
        let mut keys = KeySets::new();
        let ports = keys.number(vec![(22, 22), (80, 80)]);
        let port = keys.number(vec![(22, 22)]);
        let both: Row = [ports, 0, 0, 0];
        let one: Row = [port, 0, 0, 0];
        let cells = vec![
            Cell { first: 0, last: 9, opened: one, closed: KeySets::NOTHING },
            Cell { first: 10, last: 19, opened: both, closed: KeySets::NOTHING },
            Cell { first: 20, last: 29, opened: one, closed: KeySets::NOTHING },
        ];
        let found = found(&cells, &mut keys);
        let expected = [
            region(true, Service::Tcp(vec![(22, 22)]), &[(0, 29)]),
            region(true, Service::Tcp(vec![(80, 80)]), &[(10, 19)]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn all_protocols_are_everything() {
        let mut keys = KeySets::new();
        let possible = keys.possible(Family::V4);
        let [tcp, udp, icmp, other] = possible;
        let cells = vec![
            Cell { first: 0, last: 9, opened: KeySets::NOTHING, closed: possible },
            Cell { first: 20, last: 29, opened: [KeySets::NONE, udp, icmp, other], closed: [tcp, 0, 0, 0] },
        ];
        let found = found(&cells, &mut keys);
        let services: Vec<(bool, &Service)> =
            found.iter().map(|(opens, service, _)| (*opens, service)).collect();
        let all = vec![(0, 0xffff)];
        let other = vec![(0, 0), (2, 5), (7, 16), (18, 255)];
        assert_eq!(
            services,
            [
                (true, &Service::Udp(all.clone())),
                (true, &Service::Icmp(all.clone())),
                (true, &Service::Other(other.clone())),
                (false, &Service::Tcp(all.clone())),
                (false, &Service::Udp(all.clone())),
                (false, &Service::Icmp(all)),
                (false, &Service::Other(other)),
            ]
        );
        assert_eq!(found[3].2, [(0, 9), (20, 29)]);
    }
}
