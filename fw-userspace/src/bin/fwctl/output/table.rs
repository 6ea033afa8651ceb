//! Aligned columns under a heading, without lines, so that `grep` and `awk` work on them.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table as Grid};

use super::Output;
use super::units::plain;

/// A table that is being filled.
pub(super) struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Field>>,
}

/// What stands in one place of a table.
pub(super) struct Field {
    text: String,
    tone: Tone,
    right: bool,
}

/// What colour says, where there is colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Neutral,
    Good,
    Doubtful,
    Bad,
}

impl Table {
    pub(super) fn new(title: &'static str, columns: &'static [&'static str]) -> Self {
        Self { title, columns, rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, fields: [Field; N]) {
        self.rows.push(fields.into());
    }

    /// As many fields as there are columns.
    pub(super) fn row_of(&mut self, fields: impl IntoIterator<Item = Field>) {
        self.rows.push(fields.into_iter().collect());
    }

    /// Prints the table, an empty line before it; nothing if it has no rows.
    pub(super) fn print(&self, output: &mut Output) {
        if self.rows.is_empty() {
            return;
        }
        output.line("");
        output.line(heading(self.title, output.colour));
        output.line(self.grid(output.colour).trim_fmt());
    }

    fn grid(&self, colour: bool) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(NOTHING);
        if colour {
            grid.enforce_styling().style_text_only();
        } else {
            grid.force_no_tty();
        }
        grid.set_header(self.columns.iter().map(|column| {
            let cell = Cell::new(column.to_uppercase());
            if colour { cell.add_attribute(Attribute::Dim) } else { cell }
        }));
        for row in &self.rows {
            grid.add_row(row.iter().map(|field| field.cell(colour)));
        }
        for (index, column) in grid.column_iter_mut().enumerate() {
            column.set_padding((2, 0));
            if self.rows.iter().any(|row| row.get(index).is_some_and(|field| field.right)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid
    }
}

impl Field {
    /// Colours the field.
    pub(super) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    fn cell(&self, colour: bool) -> Cell {
        let cell = Cell::new(&self.text);
        match self.tone {
            Tone::Good if colour => cell.fg(Color::DarkGreen),
            Tone::Doubtful if colour => cell.fg(Color::DarkYellow),
            Tone::Bad if colour => cell.fg(Color::DarkRed),
            _ => cell,
        }
    }
}

/// Words; nothing at all is a `-`.
pub(super) fn words(text: impl AsRef<str>) -> Field {
    let text = text.as_ref();
    let text = if text.is_empty() { "-".to_owned() } else { plain(text).into_owned() };
    Field { text, tone: Tone::Neutral, right: false }
}

/// Several words under each other.
pub(super) fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Field {
    let items: Vec<String> = items.into_iter().map(|item| plain(item.as_ref()).into_owned()).collect();
    let text = if items.is_empty() { "-".to_owned() } else { items.join("\n") };
    Field { text, tone: Tone::Neutral, right: false }
}

/// A number, or something like one; its column is aligned to the right.
pub(super) fn number(number: impl ToString) -> Field {
    Field { text: number.to_string(), tone: Tone::Neutral, right: true }
}

/// Words outside of tables.
pub(super) fn toned(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Neutral => return text.to_owned(),
        Tone::Good => 32,
        Tone::Doubtful => 33,
        Tone::Bad => 31,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn heading(title: &str, colour: bool) -> String {
    if colour { format!("\x1b[1m{title}\x1b[0m") } else { title.to_owned() }
}
