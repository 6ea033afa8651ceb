//! What each set of addresses adds to a list: the places of the entries that name it.

use super::book::List;
use super::classes::SetId;
use super::entry::EntryId;
use super::sources::EntrySets;

/// Place of a set's layer in its [`Layers`].
pub(super) type LayerId = u32;

/// The layers of one list.
pub(super) struct Layers {
    /// Sorted by set, then by place.
    places: Vec<(SetId, u32)>,
    /// Where the places of each layer begin, and where the last ones end.
    borders: Vec<u32>,
    /// By set, its layer plus one; 0 or nothing for sets of other lists.
    of_set: Vec<u32>,
}

impl Layers {
    pub(super) fn of(sets: &EntrySets, list: &List) -> Self {
        let mut places: Vec<(SetId, u32)> = Vec::with_capacity(list.entries.len());
        for (place, entry) in (0..).zip(&list.entries) {
            places.extend(sets.of(*entry).iter().map(|set| (*set, place)));
        }
        places.sort_unstable();
        places.dedup();
        let mut of_set = vec![0; places.last().map_or(0, |(set, _)| *set as usize + 1)];
        let mut borders = vec![0];
        for same in places.chunk_by(|one, other| one.0 == other.0) {
            of_set[same[0].0 as usize] = borders.len() as u32;
            borders.push(borders[borders.len() - 1] + same.len() as u32);
        }
        Self { places, borders, of_set }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.borders.len() - 1
    }

    /// The layer of a set, if the list names it.
    pub(super) fn of_set(&self, set: SetId) -> Option<LayerId> {
        self.of_set.get(set as usize)?.checked_sub(1)
    }

    /// The places in the list of the entries of a layer, in their order.
    pub(super) fn places(&self, layer: LayerId) -> impl Iterator<Item = u32> {
        let range = self.borders[layer as usize] as usize..self.borders[layer as usize + 1] as usize;
        self.places[range].iter().map(|(_, place)| *place)
    }

    /// The entries of the layer that has the most.
    pub(super) fn widest(&self, list: &List) -> Vec<EntryId> {
        let length = |layer: &u32| self.borders[*layer as usize + 1] - self.borders[*layer as usize];
        let widest = (0..self.len() as LayerId).rev().max_by_key(length);
        let places = widest.into_iter().flat_map(|layer| self.places(layer));
        places.map(|place| list.entries[place as usize]).collect()
    }
}
