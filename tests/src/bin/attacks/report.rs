//! The table: a figure a line, a filter a column, and what is right beside them.

use comfy_table::{ContentArrangement, Table, presets};

use crate::options::{Options, Part};
use crate::target::Filter;

/// All figures so far.
pub(crate) struct Report {
    filters: Vec<Filter>,
    figures: Vec<Figure>,
}

/// What came of one thing under one filter.
struct Figure {
    part: Part,
    what: String,
    right: String,
    filter: Filter,
    seen: String,
    is_right: bool,
}

impl Report {
    /// Without any.
    pub(crate) fn new(options: &Options) -> Self {
        Self { filters: options.filters(), figures: Vec::new() }
    }

    /// Takes a figure: of what, what is right, what was seen, and whether that is right.
    pub(crate) fn take(
        &mut self,
        (part, filter): (Part, Filter),
        what: impl Into<String>,
        right: impl Into<String>,
        (seen, is_right): (impl Into<String>, bool),
    ) {
        let (what, right, seen) = (what.into(), right.into(), seen.into());
        self.figures.push(Figure { part, what, right, filter, seen, is_right });
    }

    /// Takes a number of which 0 is right.
    pub(crate) fn none(&mut self, of: (Part, Filter), what: impl Into<String>, count: u64) {
        self.take(of, what, "0", (count.to_string(), count == 0));
    }

    /// Takes a figure that is neither right nor wrong.
    pub(crate) fn tell(&mut self, of: (Part, Filter), what: impl Into<String>, seen: impl Into<String>) {
        self.take(of, what, "-", (seen, true));
    }

    /// Everything, what is wrong with a `!`.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
        let names = self.filters.iter().map(|filter| filter.name());
        table.set_header(["attack", "figure", "right is"].into_iter().chain(names));
        let mut done: Vec<(Part, &str)> = Vec::new();
        for Figure { part, what, right, .. } in &self.figures {
            if done.contains(&(*part, what)) {
                continue;
            }
            done.push((*part, what));
            let cell = |filter: &Filter| {
                let is_it = |figure: &&Figure| {
                    figure.part == *part && figure.what == *what && figure.filter == *filter
                };
                self.figures.iter().find(is_it).map_or(String::new(), |figure| {
                    if figure.is_right { figure.seen.clone() } else { format!("{} !", figure.seen) }
                })
            };
            let mut row = vec![part.name().to_owned(), what.clone(), right.clone()];
            row.extend(self.filters.iter().map(cell));
            table.add_row(row);
        }
        table
    }

    /// What is wrong with fwctl, in words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let ours = self.figures.iter().filter(|figure| !figure.is_right && figure.filter != Filter::Nft);
        let says = |figure: &Figure| {
            let Figure { part, what, right, filter, seen, .. } = figure;
            format!("{}, {}: {what}: {seen}; right is {right}", part.name(), filter.name())
        };
        ours.map(says).collect()
    }
}
