//! Large rules files: as large as a host may meet, and as bad as somebody may write.
//!
//! Each is a name and a text that is the same on every machine. What becomes of it is said with it.

mod hostile;
mod large;
mod text;

/// What a file must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It loads.
    Loads,
    /// The compiler refuses it: its tables would be too large, or too much work.
    TooLarge,
}

/// A rules file that is made when it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// What it is asked for by.
    pub name: &'static str,
    /// What must become of it.
    pub fate: Fate,
    text: fn() -> String,
}

impl Bulk {
    /// The rules file.
    #[must_use]
    pub fn text(&self) -> String {
        (self.text)()
    }
}

/// Every one there is; the first ones are those of the time goals.
pub const ALL: [Bulk; 17] = [
    Bulk { name: "rules-1k", fate: Fate::Loads, text: || large::rules(1_000) },
    Bulk { name: "rules-100k", fate: Fate::Loads, text: || large::rules(100_000) },
    Bulk { name: "cidrs-1m", fate: Fate::Loads, text: || large::hosts(1_000_000) },
    Bulk { name: "cidrs-1m-mixed", fate: Fate::Loads, text: || large::mixed(1_000_000) },
    Bulk { name: "cidrs-1m-ipv6", fate: Fate::Loads, text: || large::ipv6(1_000_000) },
    Bulk { name: "members-100k", fate: Fate::Loads, text: || large::members(100_000) },
    Bulk { name: "acls", fate: Fate::Loads, text: || large::acls(20, 2_000) },
    Bulk { name: "groups", fate: Fate::Loads, text: || large::groups(300, 50) },
    Bulk { name: "blocklists", fate: Fate::Loads, text: || large::blocklists(30, 20_000) },
    Bulk { name: "nesting-ipv4", fate: Fate::Loads, text: || hostile::nesting_ipv4(20_000) },
    Bulk { name: "nesting-ipv6", fate: Fate::Loads, text: || hostile::nesting_ipv6(5_000) },
    Bulk { name: "staircase", fate: Fate::Loads, text: || hostile::staircase(32_000) },
    Bulk { name: "ports-64k", fate: Fate::Loads, text: hostile::single_ports },
    Bulk { name: "identical-2m", fate: Fate::Loads, text: || hostile::identical(2_000_000) },
    Bulk { name: "product", fate: Fate::TooLarge, text: || hostile::product(1_000, 50_000) },
    Bulk { name: "product-silent", fate: Fate::Loads, text: || hostile::silent_product(10_000, 50_000) },
    Bulk { name: "deep-members", fate: Fate::TooLarge, text: || hostile::deep(128, 40, 100_000) },
];

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<Bulk> {
    ALL.into_iter().find(|bulk| bulk.name == name)
}
