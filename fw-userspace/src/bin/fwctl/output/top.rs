//! What `top` draws, from nothing but a [`Snapshot`]. Letters and digits only, so that it is the same over any line.

#[cfg(test)]
mod tests;

use fw_userspace::rates::Rate;
use fw_userspace::top::Snapshot;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::units::{clock, plain, si, utc};

/// Below this a picture would say less than a sentence.
const LEAST_WIDTH: u16 = 60;
const LEAST_HEIGHT: u16 = 16;

/// Lines of the connections' bar.
const BAR: usize = 20;

/// How it may look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colour: bool,
}

impl Look {
    fn of(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// What the keys have chosen.
#[derive(Debug)]
pub(crate) struct View {
    look: Look,
    every_s: u64,
    paused: bool,
    help: bool,
    /// Which of the tables the arrows move, and how far each is moved.
    selected: usize,
    offsets: [usize; TABLES],
}

/// Interfaces, rules, drops, recent.
const TABLES: usize = 4;

impl View {
    pub(crate) fn new(look: Look, every_s: u64) -> Self {
        Self { look, every_s, paused: false, help: false, selected: TABLES - 1, offsets: [0; TABLES] }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    pub(crate) fn help(&mut self) {
        self.help = !self.help;
    }

    /// The next table, or the one before.
    pub(crate) fn select(&mut self, step: isize) {
        self.selected = self.selected.wrapping_add_signed(step) % TABLES;
    }

    /// Moves the selected table.
    pub(crate) fn scroll(&mut self, lines: isize) {
        let offset = &mut self.offsets[self.selected];
        *offset = offset.saturating_add_signed(lines);
    }

    /// Draws everything.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
            frame.render_widget(Line::raw(format!("needs {LEAST_WIDTH}x{LEAST_HEIGHT}")), area);
            return;
        }
        // Of the lines that the rest leaves, those of recent packets are worth most.
        let tables = area.height - 6;
        let count = snapshot.interfaces.len() as u16;
        let [head, _, interfaces, _, middle, _, recent, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Length((count.max(1) + 1).min(tables * 3 / 10)),
            Constraint::Length(1),
            Constraint::Length(tables * 3 / 10 + 1),
            Constraint::Length(1),
            Constraint::Min(2),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(snapshot), head);
        if self.help {
            let rest = Rect { height: foot.y - interfaces.y, ..interfaces };
            frame.render_widget(Text::from(HELP), rest);
        } else {
            self.interfaces(snapshot, frame, interfaces);
            let [rules, _, drops] =
                Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)])
                    .areas(middle);
            self.rules(snapshot, frame, rules);
            self.drops(snapshot, frame, drops);
            self.recent(snapshot, frame, recent);
        }
        let keys = "q quit   p pause   tab table   up/down scroll   ? help";
        frame.render_widget(Line::styled(keys, Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn head(&self, snapshot: &Snapshot) -> Text<'static> {
        let state = if self.paused { "   PAUSED" } else { "" };
        let title = format!(
            "fwctl top   generation {}   {}   every {} s{state}",
            snapshot.generation,
            utc(snapshot.at_s),
            self.every_s
        );
        let (used, most) = (snapshot.connections, snapshot.max_connections);
        let share = if most == 0 { 0.0 } else { used as f64 / most as f64 };
        let filled = ((share * BAR as f64).ceil() as usize).min(BAR);
        let colour = match share {
            ..0.75 => Color::Green,
            ..0.9 => Color::Yellow,
            _ => Color::Red,
        };
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled));
        Text::from(vec![
            Line::styled(title, Style::new().add_modifier(Modifier::BOLD)),
            Line::from(vec![
                Span::raw("connections ["),
                Span::styled(bar, self.look.of(colour)),
                Span::raw(format!("] {used} of {most}, {:.1} %", share * 100.0)),
            ]),
        ])
    }

    fn interfaces(&mut self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let rows: Vec<Row<'_>> = snapshot
            .interfaces
            .iter()
            .map(|row| {
                let mut denied = row.denied;
                denied += row.would_deny;
                Row::new([
                    Cell::from(plain(&row.interface)),
                    Cell::from(row.direction),
                    right(rate(row.allowed.packets)),
                    right(rate(row.allowed.bits)),
                    right(rate(denied.packets)).style(self.warn(denied)),
                    right(rate(denied.bits)).style(self.warn(denied)),
                ])
            })
            .collect();
        let columns = ["INTERFACE", "DIRECTION", "PASS/S", "BIT/S", "DROP/S", "BIT/S"];
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
        ];
        self.table(frame, area, (0, 2), columns, widths, rows);
    }

    fn rules(&mut self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let rows: Vec<Row<'_>> = snapshot
            .rules
            .iter()
            .map(|row| {
                Row::new([
                    Cell::from(plain(&row.name)),
                    right(rate(row.rate.packets)),
                    right(si(row.packets as f64)),
                ])
            })
            .collect();
        self.table(frame, area, (1, 1), ["RULE", "PACKETS/S", "PACKETS"], COUNTS, rows);
    }

    fn drops(&mut self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let rows: Vec<Row<'_>> = snapshot
            .drops
            .iter()
            .map(|row| {
                Row::new([
                    Cell::from(row.reason),
                    right(rate(row.rate.packets)).style(self.warn(row.rate)),
                    right(si(row.packets as f64)),
                ])
            })
            .collect();
        self.table(frame, area, (2, 1), ["DROPPED FOR", "PACKETS/S", "PACKETS"], COUNTS, rows);
    }

    fn recent(&mut self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        if let Some(why) = &snapshot.deaf {
            let text =
                vec![Line::raw("RECENT DROPS"), Line::raw(format!("none to be heard: {}", plain(why)))];
            frame.render_widget(Text::from(text), area);
            return;
        }
        let rows: Vec<Row<'_>> = snapshot
            .recent
            .iter()
            .map(|row| {
                Row::new([
                    Cell::from(clock(row.time_ns)),
                    Cell::from(plain(&row.interface)),
                    Cell::from(row.direction),
                    Cell::from(plain(&row.by)),
                    Cell::from(plain(&row.packet)),
                ])
            })
            .collect();
        let lost = match snapshot.suppressed {
            0 => String::new(),
            count => format!(", {} more not told of", si(count as f64)),
        };
        let packet = format!("PACKET{lost}");
        let columns = ["RECENT DROPS", "INTERFACE", "DIR", "RULE OR REASON", packet.as_str()];
        let width = snapshot.recent.iter().map(|row| row.interface.chars().count()).max().unwrap_or(0);
        let widths = [
            Constraint::Length(12),
            Constraint::Length(width.clamp(9, 16) as u16),
            Constraint::Length(3),
            Constraint::Length(if area.width < 100 { 14 } else { 28 }),
            Constraint::Fill(1),
        ];
        self.table(frame, area, (3, usize::MAX), columns, widths, rows);
    }

    /// A table, moved as far as it can be; from the column `numbers` on headings stand over numbers.
    fn table<const N: usize>(
        &mut self,
        frame: &mut Frame<'_>,
        area: Rect,
        (index, numbers): (usize, usize),
        columns: [&str; N],
        widths: [Constraint; N],
        rows: Vec<Row<'_>>,
    ) {
        let shown = usize::from(area.height.saturating_sub(1));
        let offset = self.offsets[index].min(rows.len().saturating_sub(shown));
        self.offsets[index] = offset;
        let mut style = Style::new().add_modifier(Modifier::BOLD);
        if index == self.selected {
            style = style.add_modifier(Modifier::UNDERLINED);
        }
        let cells = columns.iter().enumerate().map(|(column, text)| {
            if column >= numbers { right((*text).to_owned()) } else { Cell::from(*text) }
        });
        let header = Row::new(cells.collect::<Vec<_>>()).style(style);
        let table = Table::new(rows.into_iter().skip(offset).take(shown), widths).header(header);
        frame.render_widget(table.column_spacing(1), area);
    }

    fn warn(&self, rate: Rate) -> Style {
        if rate.packets > 0.0 { self.look.of(Color::Red) } else { Style::new() }
    }
}

const COUNTS: [Constraint; 3] = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(7)];

const HELP: &str = "\
q, Esc, Ctrl-C   quit
p, space         stand still, go on
Tab, Shift-Tab   the table that is moved: its headings are underlined
arrows, j, k     move it by a line, Page Up and Page Down by ten, Home to its begin
?, h             this help

Rates are per second, between the last two looks. What passes although it would be dropped, because the
interface has \"enforce\": false, is counted as dropped here.
RULE: of groups first packets of connections, and packets that no connection answered for; of network ACLs
every packet that an entry denies, or lets on and that passes.
RECENT DROPS: at most about a thousand a second and CPU are told of.";

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// A rate; nothing at all is a dot, so that what is not stands out.
fn rate(value: f64) -> String {
    if value == 0.0 { "-".to_owned() } else { si(value) }
}
