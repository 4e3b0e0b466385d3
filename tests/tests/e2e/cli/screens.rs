//! `bpfgate watch counters` and `bpfgate top` on a terminal: however they end, it is as it was.

use bpfgate_tests::terminal::without_escapes;
use bpfgate_tests::{Agent, SOON, Terminal, within};
use rustix::process::Signal;

use super::{create_hits, quiet, words};

const LIVE: &str = "watch counters hits --interval 50ms";
const TOP: &str = "top --interval 50ms --no-stats";

fn with_hits() -> Agent {
    let agent = Agent::spawn();
    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 1234567");
    agent
}

/// The command on a terminal of 80 by 24, with its numbers in sight.
fn shown(agent: &Agent, arguments: &str) -> Terminal {
    shown_with(agent, arguments, &[])
}

fn shown_with(agent: &Agent, arguments: &str, env: &[(&str, &str)]) -> Terminal {
    let mut command = agent.cli_command();
    command.args(words(arguments)).envs(env.iter().copied());
    let terminal = Terminal::run(&command, 80, 24);
    terminal.until(0, "1,234,567");
    terminal
}

#[test]
fn a_live_table_ends_well_and_gives_the_terminal_back() {
    let agent = with_hits();
    let mut by_key = shown(&agent, LIVE);
    by_key.press("\x03");
    assert_eq!(by_key.ended().code, Some(0));

    let by_signal = shown(&agent, LIVE);
    by_signal.signal(Signal::TERM);
    assert_eq!(by_signal.ended().code, Some(0));

    let by_time = shown(&agent, &format!("{LIVE} --duration 1s"));
    let ended = by_time.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.shown);
    // The last picture stays.
    assert!(without_escapes(&ended.shown).contains("10.0.0.1"), "{}", ended.shown);
}

#[test]
fn a_live_table_that_is_suspended_gives_the_terminal_back_meanwhile() {
    let agent = with_hits();
    let mut terminal = shown(&agent, LIVE);
    terminal.press("\x1a");
    let status = format!("/proc/{}/stat", terminal.pid());
    let stopped = || std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") T "));
    assert!(within(SOON, stopped), "it goes on: {}", terminal.shown());
    // What it said last may still be on its way here.
    let mut before = String::new();
    let given_back = within(SOON, || {
        before = terminal.shown();
        before.rfind("\x1b[?25h") > before.rfind("\x1b[?25l")
    });
    assert!(given_back, "{before:?}");
    terminal.signal(Signal::CONT);
    terminal.until(before.len(), "1,234,567");
    terminal.press("\x03");
    assert_eq!(terminal.ended().code, Some(0));
}

#[test]
fn a_full_screen_ends_well_and_gives_the_terminal_back() {
    let agent = with_hits();
    for keys in ["q", "\x03"] {
        let mut by_key = shown(&agent, TOP);
        by_key.press(keys);
        assert_eq!(by_key.ended().code, Some(0), "{keys:?}");
    }
    let by_signal = shown(&agent, &format!("{TOP} hits hist"));
    by_signal.signal(Signal::TERM);
    let ended = by_signal.ended();
    assert_eq!(ended.code, Some(0));
    assert!(ended.shown.contains("did you mean hits?"), "{}", ended.shown);
}

#[test]
fn a_full_screen_has_all_panes_shows_its_keys_and_turns_its_order() {
    let agent = with_hits();
    agent.cli(&words("object load pc --builtin proto-counters")).ok();
    for (width, height) in [(80, 24), (200, 50)] {
        let mut command = agent.cli_command();
        command.args(words(TOP));
        let mut terminal = Terminal::run(&command, width, height);
        for text in ["1,234,567", "pc/count_protocols", "pc/stats", "links"] {
            terminal.until(0, text);
        }
        let before = terminal.shown().len();
        terminal.press("?");
        terminal.until(before, "reverse");
        terminal.press("?r");
        terminal.until(before, "reversed");
        terminal.press("q");
        assert_eq!(terminal.ended().code, Some(0), "{width} by {height}");
    }
}

#[test]
fn an_agent_that_dies_is_waited_for_or_ends_the_watch() {
    let agent = with_hits();
    let waiting = shown(&agent, LIVE);
    let mut top = shown(&agent, TOP);
    let leaving = shown(&agent, &format!("{LIVE} --no-reconnect"));
    agent.kill();

    let left = leaving.ended();
    assert_eq!(left.code, Some(5), "{}", left.shown);
    let last = left.shown.lines().last().unwrap();
    assert!(without_escapes(last).starts_with("bpfgate: "), "{last:?}");

    waiting.until(0, "connection lost");
    waiting.until(0, "trying again");
    waiting.signal(Signal::INT);
    assert_eq!(waiting.ended().code, Some(0));

    top.until(0, "trying again");
    top.press("q");
    assert_eq!(top.ended().code, Some(0));
}

#[test]
fn another_size_is_drawn_for_at_once() {
    let agent = with_hits();
    for (arguments, keys) in [(LIVE, "\x03"), (TOP, "q")] {
        let mut terminal = shown(&agent, arguments);
        let before = terminal.shown().len();
        terminal.resize(20, 5);
        // A terminal of another size is cleared.
        terminal.until(before, "\x1b[2J");
        let cleared = before + terminal.shown()[before..].find("\x1b[2J").unwrap();
        terminal.until(cleared, "1,234,567");
        let before = terminal.shown().len();
        terminal.resize(0, 0);
        terminal.resize(200, 60);
        terminal.until(before, "\x1b[2J");
        terminal.press(keys);
        let ended = terminal.ended();
        assert_eq!(ended.code, Some(0), "{arguments}");
        let narrow = &ended.shown[cleared..before];
        let wide = without_escapes(narrow).lines().map(|line| line.chars().count()).max();
        assert!(arguments == TOP || wide <= Some(20), "{narrow:?}");
    }
}

#[test]
fn a_terminal_gets_no_more_than_it_can_show() {
    let agent = with_hits();
    // What is bold on the one is green on the other.
    for (arguments, keys, colour) in [(LIVE, "\x03", "\x1b[1m"), (TOP, "q", "\x1b[38;")] {
        let mut plain = shown_with(&agent, arguments, &[("LANG", "C")]);
        plain.press(keys);
        let shown = plain.ended().shown;
        assert!(shown.is_ascii() && shown.contains(colour), "{shown:?}");

        let mut grey = shown_with(&agent, arguments, &[("NO_COLOR", "1")]);
        grey.press(keys);
        let shown = grey.ended().shown;
        assert!(!shown.contains(colour), "{shown:?}");
    }
    let mut dumb = shown_with(&agent, LIVE, &[("TERM", "dumb")]);
    dumb.press("\x03");
    let shown = dumb.ended().shown;
    assert!(shown.starts_with("TIME") && !shown.contains('\x1b'), "{shown:?}");
}
