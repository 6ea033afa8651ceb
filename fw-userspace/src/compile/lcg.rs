//! Random numbers for tests: the same on every run.

/// Knuth's MMIX generator; its high half is good enough here.
pub(crate) struct Lcg(u64);

impl Lcg {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.next() % end.max(1)
    }

    pub(crate) fn wide(&mut self) -> u128 {
        (0..4).fold(0, |wide, _| wide << 32 | u128::from(self.next()))
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u32) as usize]
    }
}
