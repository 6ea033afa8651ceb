//! The figures as tables, each with its difference to what is recorded.

use std::collections::BTreeSet;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use fw_tests::structure::ceilings::{Ceilings, Figures, Group, grouped};

/// Prints everything; where there is nothing to compare with, it says so.
pub(crate) fn print(seen: &Ceilings, recorded: &Ceilings) {
    println!(
        "The object, whatever the kernel. \"main\" is a program's main function, \"whole\" all its functions, or the"
    );
    println!("most stack along its calls. In brackets: the difference to the ceiling.");
    println!("{}", by_figure(&seen.object, &recorded.object, &Figures::new()));
    println!(
        "\nWhat each packet makes the object do, 300 group rules and 40 ACL entries in force, whatever the kernel:"
    );
    println!("{}", by_packet(&seen.packets, &recorded.packets));
    println!("\nWhat the kernel made of it ({}):", seen.kernel);
    if seen.kernel == recorded.kernel {
        println!("{}", by_figure(&seen.translated, &recorded.translated, &recorded.limits));
    } else {
        println!("{}", by_figure(&seen.translated, &seen.translated, &recorded.limits));
        println!("Not judged but for the limit: the recorded figures are of {}.", recorded.kernel);
    }
    println!();
}

/// A row for each figure, a column for each program.
fn by_figure(seen: &Group, recorded: &Group, limits: &Figures) -> Table {
    let mut table = empty([""].into_iter().chain(seen.keys().map(String::as_str)));
    let figures: BTreeSet<&String> = seen.values().flat_map(Figures::keys).collect();
    for figure in figures {
        let title = match limits.get(figure) {
            Some(limit) => format!("{figure} (at most {})", grouped(*limit)),
            None => figure.clone(),
        };
        let cells = seen.keys().map(|whose| {
            let of = |group: &Group| group.get(whose)?.get(figure).copied();
            let ceiling = if limits.contains_key(figure) { of(seen) } else { of(recorded) };
            cell(of(seen).unwrap_or(0), ceiling.unwrap_or(0))
        });
        table.add_row([title].into_iter().chain(cells));
    }
    table
}

/// A row for each packet, a column for each sum.
fn by_packet(seen: &Group, recorded: &Group) -> Table {
    const SUMS: [&str; 4] = ["instructions", "function calls", "helper calls", "hash map calls"];
    let mut table = empty([""].into_iter().chain(SUMS));
    for (packet, figures) in seen {
        let ceilings = recorded.get(packet);
        let cells = SUMS.map(|figure| {
            let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(0);
            cell(of(figures), ceilings.map_or(0, of))
        });
        table.add_row([packet.clone()].into_iter().chain(cells));
    }
    table
}

fn cell(seen: u64, ceiling: u64) -> String {
    let difference = grouped(seen.abs_diff(ceiling));
    match seen.cmp(&ceiling) {
        std::cmp::Ordering::Less => format!("(-{difference}) {}", grouped(seen)),
        std::cmp::Ordering::Equal => grouped(seen),
        std::cmp::Ordering::Greater => format!("(+{difference}) {}", grouped(seen)),
    }
}

fn empty<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
