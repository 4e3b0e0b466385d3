//! What is on the screen, and what keys do to it.

use std::time::Duration;

use bpfgate_client::v1::{self, ProgramStats};
use bpfgate_client::{Interruption, WatchEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::data::{Data, Polled};
use super::draw::draw;
use super::state::{Then, View};
use crate::board::tests::board;
use crate::commands::Runs;
use crate::human::Zone;
use crate::spark::Bars;

fn data() -> Data {
    let keys: Vec<_> = (1..=60).map(|key| ("pc/stats", key)).collect();
    let mut data = Data::new(board(&keys, |key| key * 1000), "unix:/run/a.sock".to_owned());
    let runs = |name: &str, id: u32, per_second: f64| Runs {
        stats: ProgramStats {
            program: format!("pc/{name}"),
            id,
            r#type: "xdp".to_owned(),
            ..ProgramStats::default()
        },
        count: 1,
        per_second,
        ns_per_run: Some(u64::from(id)),
        cpu_percent: per_second / 400.0,
        misses: 0,
    };
    let map = |name: &str, memory_bytes| v1::Map {
        name: name.to_owned(),
        memory_bytes,
        spec: Some(v1::MapSpec { r#type: 1, max_entries: 1024, ..v1::MapSpec::default() }),
        ..v1::Map::default()
    };
    let link = v1::Link { id: 7, program: "pc/slow".to_owned(), ..v1::Link::default() };
    data.polled = Polled {
        programs: vec![runs("slow", 900, 1.0), runs("fast", 20, 5000.0)],
        maps: vec![map("pc/stats", 4096), map("pc/by_proto", 8192)],
        links: vec![link],
        counting: true,
        problem: None,
    };
    data
}

fn view() -> View {
    View::new(false, Bars::of_locale(), Zone::utc())
}

/// The lines of a screen.
fn screen(data: &Data, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, data, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(line).collect()
}

fn press(view: &mut View, data: &Data, keys: &[KeyCode]) -> Then {
    let mut then = Then::Stay;
    for key in keys {
        then = view.take(&Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)), data);
    }
    then
}

fn line(lines: &[String], text: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
}

#[test]
fn everything_is_in_sight_on_an_ordinary_terminal() {
    let lines = screen(&data(), &mut view(), 80, 24);
    for text in ["unix:/run/a.sock", "counters (60)", "programs (2)", "maps (2, 12.0 KiB)"] {
        line(&lines, text);
    }
    assert!(line(&lines, "key-60") < line(&lines, "key-59"));
    assert!(lines[line(&lines, "key-60")].contains("180,000 60.0 k/s"), "{lines:#?}");
    // The fastest program and the largest map have the first lines.
    for text in ["pc/fast", "pc/by_proto", "pc/slow", "q quit"] {
        line(&lines, text);
    }
}

#[test]
fn a_wide_screen_has_all_panes_beside_and_below_each_other() {
    let lines = screen(&data(), &mut view(), 200, 50);
    let counters = line(&lines, "counters (60)");
    assert_eq!(counters, line(&lines, "programs (2)"), "{lines:#?}");
    assert!(line(&lines, "links (1)") < 49 && lines[line(&lines, "pc/fast")].contains("12.5%"));
    assert!(lines.iter().filter(|line| line.contains("key-")).count() > 40, "{lines:#?}");
    // On a narrow one each has its rows, and the counters the rest.
    let lines = screen(&data(), &mut view(), 80, 24);
    assert!(lines[line(&lines, "pc/slow")].contains("<0.1%"), "{lines:#?}");
    line(&lines, "links (1)");
}

#[test]
fn keys_are_shown_and_orders_reversed() {
    let (data, mut view) = (data(), view());
    press(&mut view, &data, &[KeyCode::Char('?')]);
    let lines = screen(&data, &mut view, 80, 24);
    line(&lines, "reverse the order");
    assert_eq!(press(&mut view, &data, &[KeyCode::Char('q')]), Then::Stay, "it leads back");
    assert!(!view.asked().reverse);
    press(&mut view, &data, &[KeyCode::Char('r')]);
    let lines = screen(&data, &mut view, 80, 24);
    assert!(lines[line(&lines, "counters (60)")].contains("by rate, reversed"), "{lines:#?}");
    assert!(line(&lines, "key-1 ") < line(&lines, "key-2 ") && view.asked().reverse);
    press(&mut view, &data, &[KeyCode::Char('2'), KeyCode::Char('r')]);
    let lines = screen(&data, &mut view, 80, 24);
    assert!(line(&lines, "pc/slow") < line(&lines, "pc/fast"), "{lines:#?}");
}

#[test]
fn no_screen_is_too_small_or_too_large() {
    let data = data();
    for (width, height) in [(1, 1), (3, 2), (20, 3), (20, 6), (40, 10), (80, 24), (300, 100)] {
        let mut view = view();
        for _ in 0..4 {
            let lines = screen(&data, &mut view, width, height);
            assert_eq!(lines.len(), usize::from(height));
            press(&mut view, &data, &[KeyCode::Tab, KeyCode::End]);
        }
    }
    // The numbers stay when the names have to give way.
    let lines = screen(&data, &mut view(), 46, 12);
    assert!(lines.iter().any(|line| line.contains("60.0 k/s")), "{lines:#?}");
    let lines = screen(&data, &mut view(), 20, 5);
    assert_eq!(lines[2].trim_end(), "key 180,000 60.0 k/s", "{lines:#?}");
}

#[test]
fn a_terminal_without_utf8_gets_none() {
    let mut view = View::new(false, Bars::ascii(), Zone::utc());
    let (data, mut typed) = (data(), vec![KeyCode::Char('/')]);
    for _ in 0..2 {
        let lines = screen(&data, &mut view, 80, 24);
        assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
        press(&mut view, &data, &typed);
        typed.clear();
    }
}

#[test]
fn keys_turn_sort_filter_and_quit() {
    let (data, mut view) = (data(), view());
    press(&mut view, &data, &[KeyCode::Tab]);
    let lines = screen(&data, &mut view, 80, 40);
    assert!(line(&lines, "pc/fast") < line(&lines, "pc/slow"));
    press(&mut view, &data, &[KeyCode::Char('s')]);
    let lines = screen(&data, &mut view, 80, 40);
    assert!(line(&lines, "pc/slow") < line(&lines, "pc/fast"), "by ns/run: {lines:#?}");
    line(&lines, "s by ns/run");

    let typed = "/KEY-5q".chars().map(KeyCode::Char).collect::<Vec<_>>();
    assert_eq!(press(&mut view, &data, &typed), Then::Stay, "q is a letter here");
    press(&mut view, &data, &[KeyCode::Backspace, KeyCode::Enter]);
    let lines = screen(&data, &mut view, 80, 40);
    line(&lines, "counters (11)");
    line(&lines, "no programs");
    assert_eq!(press(&mut view, &data, &[KeyCode::Esc]), Then::Stay);
    line(&screen(&data, &mut view, 80, 40), "counters (60)");

    press(&mut view, &data, &[KeyCode::BackTab, KeyCode::Down, KeyCode::Down]);
    screen(&data, &mut view, 80, 24);
    assert_eq!(view.tables[0].selected(), Some(1));
    assert_eq!(press(&mut view, &data, &[KeyCode::Char('q')]), Then::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.take(&Event::Key(interrupt), &data), Then::Quit);
}

#[test]
fn a_pause_keeps_the_picture_and_goes_on_with_the_newest() {
    let (mut data, mut view) = (data(), view());
    press(&mut view, &data, &[KeyCode::Char('p')]);
    data.polled.maps.clear();
    let lines = screen(&data, &mut view, 80, 24);
    line(&lines, "maps (2");
    line(&lines, "PAUSED");
    press(&mut view, &data, &[KeyCode::Char('p')]);
    line(&screen(&data, &mut view, 80, 24), "no maps");
}

#[test]
fn what_is_wrong_is_said() {
    let mut data = data();
    data.polled.counting = false;
    let lines = screen(&data, &mut view(), 80, 24);
    line(&lines, "kernel.bpf_stats_enabled is off");
    assert!(!lines[line(&lines, "pc/fast")].contains("/s"), "{lines:#?}");
    let why = "the agent is gone".to_owned();
    data.news = Some(why.clone());
    let lost = Interruption { why, odd: false, attempts: 0, retry_in: Duration::from_secs(1) };
    data.board.apply(&WatchEvent::Interrupted(lost)).unwrap();
    let lines = screen(&data, &mut view(), 80, 24);
    assert!(lines[0].starts_with("the agent is gone"), "{lines:#?}");
    // The last numbers stay, without rates.
    assert!(!lines[line(&lines, "180,000")].contains("k/s"), "{lines:#?}");
}
