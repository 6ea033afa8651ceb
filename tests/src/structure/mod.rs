//! What a packet's way through the programs costs, in figures that no clock and no neighbour disturbs.
//!
//! [`object`] links the programs as the loader does, [`shape`] reads what their functions hold, [`translated`] what the
//! kernel made of them, and [`ceilings`] keeps the figures that none may rise above.

pub mod ceilings;
pub mod instruction;
pub mod object;
pub mod shape;
pub mod translated;
