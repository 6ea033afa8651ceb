//! Pictures in memory.

use fw_userspace::rates::Rate;
use fw_userspace::top::{DropRate, InterfaceRates, Recent, RuleRate, Snapshot};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::{Look, View};

fn rate(packets: f64) -> Rate {
    Rate { packets, bits: packets * 800.0 }
}

fn snapshot() -> Snapshot {
    let interface = |name: &str, direction, denied| InterfaceRates {
        interface: name.to_owned(),
        direction,
        allowed: rate(12_345.0),
        denied: rate(denied),
        would_deny: Rate::default(),
    };
    Snapshot {
        generation: 7,
        at_s: 1_795_472_045,
        interfaces: vec![interface("eni-web", "egress", 0.0), interface("eni-web", "ingress", 250.0)],
        rules: (0..40)
            .map(|number| RuleRate {
                name: format!("sg-web ingress rule-{number}"),
                rate: rate(100.0 - f64::from(number)),
                packets: 1_500_000,
            })
            .collect(),
        drops: vec![DropRate { reason: "no_group_rule", rate: rate(250.0), packets: 99 }],
        connections: 13_107,
        max_connections: 262_144,
        recent: (0..30)
            .map(|number| Recent {
                time_ns: 1_795_472_045_123_000_000 - number * 1_000_000_000,
                interface: "eni-web".to_owned(),
                direction: "ingress",
                by: "no_group_rule".to_owned(),
                packet: format!("tcp 198.51.100.7:{} -> 10.0.1.10:22 SYN", 51_000 + number),
            })
            .collect(),
        suppressed: 4_200,
        deaf: None,
    }
}

fn picture(view: &mut View, snapshot: &Snapshot, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(snapshot, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let line = |cells: &[ratatui::buffer::Cell]| {
        cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()
    };
    buffer.content.chunks(usize::from(buffer.area.width)).map(line).collect()
}

fn plain() -> View {
    View::new(Look { colour: false }, 1)
}

#[test]
fn eighty_columns_show_everything() {
    let seen = lines(&picture(&mut plain(), &snapshot(), 80, 24));
    let expected = "\
fwctl top   generation 7   2026-11-23 22:14:05 UTC   every 1 s
connections [#...................] 13107 of 262144, 5.0 %

INTERFACE                           DIRECTION   PASS/S    BIT/S   DROP/S    BIT/S
eni-web                             egress       12.3k     9.9M        -        -
eni-web                             ingress      12.3k     9.9M    250   200.0k";
    for (line, wanted) in seen.iter().zip(expected.lines()) {
        assert_eq!(words(line), words(wanted), "{seen:#?}");
    }
    let all = seen.join("\n");
    for part in [
        "RULE",
        "sg-web ingress rule",
        "DROPPED FOR",
        "no_group_rule",
        "RECENT DROPS",
        "22:14:05.123 eni-web",
        "tcp 198.51.100.7:51000 -> 10.0.1.10",
        "4.2k more not told of",
        "q quit",
    ] {
        assert!(all.contains(part), "{part:?} is not in\n{all}");
    }
    assert!(all.is_ascii(), "{all}");
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_small_screen_gets_one_line() {
    let seen = lines(&picture(&mut plain(), &snapshot(), 20, 5));
    assert_eq!(seen, ["needs 60x16", "", "", "", ""]);
    picture(&mut plain(), &snapshot(), 1, 1);
    let least = lines(&picture(&mut plain(), &snapshot(), 60, 16)).join("\n");
    assert!(least.contains("22:14:05.123"), "{least}");
}

#[test]
fn a_large_screen_shows_more() {
    let seen = lines(&picture(&mut plain(), &snapshot(), 200, 50)).join("\n");
    assert!(seen.contains("sg-web ingress rule-9 "), "{seen}");
    assert!(seen.contains("tcp 198.51.100.7:51020 -> 10.0.1.10:22 SYN"), "{seen}");
}

#[test]
fn colour_only_where_it_is_wanted() {
    let colours = |colour| {
        let buffer = picture(&mut View::new(Look { colour }, 1), &snapshot(), 80, 24);
        buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 0);
}

#[test]
fn arrows_move_the_selected_table_and_no_further_than_it_goes() {
    let mut view = plain();
    view.scroll(3);
    let seen = lines(&picture(&mut view, &snapshot(), 80, 24)).join("\n");
    assert!(seen.contains(":51003 ") && !seen.contains(":51002 "), "{seen}");
    view.scroll(1000);
    let seen = lines(&picture(&mut view, &snapshot(), 80, 24)).join("\n");
    assert!(seen.contains(":51029 "), "{seen}");
    view.scroll(-1);
    let seen = lines(&picture(&mut view, &snapshot(), 80, 24)).join("\n");
    assert!(!seen.contains(":51029 "), "it moves at once: {seen}");
    view.select(2);
    view.scroll(5);
    let seen = lines(&picture(&mut view, &snapshot(), 200, 50)).join("\n");
    assert!(seen.contains("rule-5 ") && !seen.contains("rule-4 "), "{seen}");
}

#[test]
fn pause_help_and_deafness_are_said() {
    let mut view = plain();
    view.pause();
    view.help();
    let seen = lines(&picture(&mut view, &snapshot(), 80, 24)).join("\n");
    assert!(
        seen.contains("PAUSED") && seen.contains("Shift-Tab") && !seen.contains("RECENT DROPS  "),
        "{seen}"
    );
    let deaf = Snapshot { deaf: Some("process 7 (fwctl) reads".to_owned()), ..snapshot() };
    let seen = lines(&picture(&mut plain(), &deaf, 80, 24)).join("\n");
    assert!(seen.contains("none to be heard: process 7 (fwctl) reads"), "{seen}");
}

#[test]
fn nothing_yet_is_no_error() {
    let seen = lines(&picture(&mut plain(), &Snapshot::default(), 80, 24)).join("\n");
    assert!(seen.contains("0 of 0, 0.0 %"), "{seen}");
}
