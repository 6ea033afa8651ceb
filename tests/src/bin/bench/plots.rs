//! The figures as pictures in `target/bench`: what a filter costs against the number of rules, and packets a second.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::grid::Cell;
use crate::results;

const WIDTH: u32 = 420;
const HEIGHT: u32 = 340;
/// Of one bar and the space below it.
const BAR: u32 = 22;
/// Distinct also for those who see no red or green (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Of the empty programs.
const GREY: RGBColor = RGBColor(150, 150, 150);
/// The largest cost that a picture has room for; those of linear lists are in the tables only.
const HIGHEST_NS: f64 = 1500.0;
/// Room for the legend above the lines.
const LEGEND: f64 = 1.5;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Nanoseconds over the empty program against the size, one chart for each kind of frame, one line for each filter.
pub(crate) fn cost(part: &str, cells: &[Cell]) -> Result<()> {
    let place = place(cells);
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.place == place && is_filter(cell)).collect();
    let kinds = distinct(cells.iter().map(|cell| cell.kind));
    let variants = distinct(cells.iter().map(|cell| cell.variant));
    let columns = if kinds.len().is_multiple_of(3) { 3 } else { 2 };
    let rows = kinds.len().div_ceil(columns);
    let file = results::directory()?.join(format!("{part}-cost.svg"));
    draw(&file, (columns as u32 * WIDTH, rows as u32 * HEIGHT), |canvas| {
        for (kind, chart) in kinds.iter().zip(canvas.split_evenly((rows, columns))) {
            let of_kind: Vec<&Cell> = cells.iter().filter(|cell| cell.kind == *kind).copied().collect();
            cost_of_kind(&chart, kind, part, &of_kind, &variants)?;
        }
        Ok(())
    })
}

fn cost_of_kind(
    canvas: &Canvas<'_>,
    kind: &str,
    part: &str,
    cells: &[&Cell],
    variants: &[&str],
) -> Result<()> {
    let sizes = span(cells.iter().map(|cell| cell.size as f64));
    let costs = cells.iter().map(|cell| cell.over_empty().median());
    let highest = costs.filter(|ns| *ns <= HIGHEST_NS).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(canvas)
        .caption(kind, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d((sizes.start..sizes.end.max(100.0)).log_scale(), 0.0..LEGEND * highest)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc(part)
        .y_desc("ns over the empty program")
        .x_label_formatter(&|size| format!("{size}"))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(drawing)?;
    for (variant, colour) in variants.iter().zip(COLOURS.iter().cycle()) {
        let points = cells.iter().filter(|cell| cell.variant == *variant);
        let points = points.map(|cell| (cell.size as f64, cell.over_empty().median()));
        let points: Vec<(f64, f64)> = points.filter(|(_, ns)| *ns <= HIGHEST_NS).collect();
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))
            .map_err(drawing)?
            .label(*variant)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(drawing)
}

/// Packets a second as bars, one block for each kind of frame.
pub(crate) fn rates(part: &str, cells: &[Cell]) -> Result<()> {
    let place = place(cells);
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.place == place).collect();
    let kinds = distinct(cells.iter().map(|cell| cell.kind));
    let highest = cells.iter().map(|cell| 1e3 / cell.ns.median()).fold(1.0, f64::max);
    let height = BAR * (cells.len() + 2 * kinds.len()) as u32 + BAR;
    let file = results::directory()?.join(format!("{part}-rate.svg"));
    draw(&file, (900, height), |canvas| {
        let mut y = BAR as i32 / 2;
        let write = |text: &str, at: (i32, i32), size: u32| {
            canvas.draw(&Text::new(text.to_owned(), at, ("sans-serif", size))).map_err(drawing)
        };
        for kind in kinds {
            write(&format!("{kind}: million packets a second"), (10, y), 15)?;
            y += BAR as i32;
            for cell in cells.iter().filter(|cell| cell.kind == kind) {
                let rate = 1e3 / cell.ns.median();
                let right = 260 + (rate / highest * 560.0) as i32;
                let colour = match cell.variant.split([',', ' ']).next() {
                    Some("fwctl") => COLOURS[0],
                    Some("empty") => GREY,
                    _ => COLOURS[1],
                };
                let bar = Rectangle::new([(260, y), (right, y + BAR as i32 - 6)], colour.filled());
                canvas.draw(&bar).map_err(drawing)?;
                let size = if is_filter(cell) { format!(", {} {part}", cell.size) } else { String::new() };
                write(&format!("{}{size}", cell.variant), (10, y + 2), 12)?;
                write(&format!("{rate:.2}"), (right + 6, y + 2), 12)?;
                y += BAR as i32;
            }
            y += BAR as i32;
        }
        Ok(())
    })
}

fn draw(file: &PathBuf, size: (u32, u32), paint: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<()> {
    let canvas = SVGBackend::new(file, size).into_drawing_area();
    canvas.fill(&WHITE).map_err(drawing)?;
    paint(&canvas)?;
    canvas.present().map_err(drawing)?;
    println!("   drawn: {}", file.display());
    Ok(())
}

/// Random sources of the set, if they were measured.
fn place(cells: &[Cell]) -> &'static str {
    let names = || cells.iter().map(|cell| cell.place);
    names().find(|place| *place == "in table").or(names().next()).unwrap_or_default()
}

fn is_filter(cell: &&Cell) -> bool {
    !cell.variant.starts_with("empty")
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::MAX, 1.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
    low.min(high)..high
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
