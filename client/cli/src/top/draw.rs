//! The screen.

use bpfgate_client::Standing;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Paragraph, Row, Table};

use super::data::Data;
use super::panes::{Column, Pane, Sheet};
use super::share::{self, LEAST};
use super::state::View;
use crate::human;
use crate::render::printable;

/// Cells that a column of text keeps when the screen is narrow.
const NARROW: usize = 3;
/// A frame for terminals that have nothing but ASCII.
const PLAIN_FRAME: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// One picture.
pub(super) fn draw(frame: &mut Frame<'_>, live: &Data, view: &mut View) {
    let frozen = view.frozen.take();
    let data = frozen.as_deref().unwrap_or(live);
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(title(live, view, frozen.is_some()), head);
    if view.help {
        frame.render_widget(keys(view), body);
    } else {
        let mut sheets = Pane::ALL.map(|pane| Some(pane.sheet(data, view)));
        let rows = sheets.each_ref().map(|sheet| sheet.as_ref().map_or(0, |it| it.rows.len()));
        for (pane, area) in share::areas(body, view.pane, rows) {
            if let Some(sheet) = sheets[pane as usize].take() {
                draw_pane(frame, area, pane, sheet, view);
            }
        }
    }
    frame.render_widget(footer(view), foot);
    view.frozen = frozen;
}

/// What `?` shows.
fn keys(view: &View) -> Paragraph<'static> {
    const KEYS: [(&str, &str); 11] = [
        ("tab, left, right", "another pane; so do 1 to 4"),
        ("up, down, j, k", "another row"),
        ("page keys", "a page of rows"),
        ("home, end, g, G", "the first or last row"),
        ("s", "sort the pane by its next column"),
        ("r", "reverse the order"),
        ("/", "filter by a part of a name; enter keeps it, esc drops it"),
        ("p, blank", "stop the numbers, and go on"),
        ("?", "these keys; any key leads back"),
        ("q, ^C", "quit"),
        ("CPU", "how much of one CPU's time a program takes"),
    ];
    let line = |(key, what): (&'static str, &'static str)| Line::from(format!("  {key:18}{what}"));
    let mut style = Style::new().add_modifier(Modifier::BOLD);
    if view.colour {
        style = style.fg(Color::Green);
    }
    let title = Line::from(Span::styled("Keys", style));
    Paragraph::new([title].into_iter().chain(KEYS.map(line)).collect::<Vec<_>>())
}

fn title(data: &Data, view: &View, frozen: bool) -> Line<'static> {
    let trouble = |text: String| {
        let style = Style::new().add_modifier(Modifier::BOLD);
        let style = if view.colour { style.fg(Color::Yellow) } else { style };
        Line::from(Span::styled(printable(&text), style))
    };
    if data.board.view().standing() == Standing::Interrupted {
        return trouble(data.news.clone().unwrap_or_else(|| "connection lost".to_owned()));
    }
    if let Some(problem) = &data.polled.problem {
        return trouble(problem.clone());
    }
    if let Some(news) = &data.news {
        return trouble(news.clone());
    }
    let paused = if frozen { "  PAUSED" } else { "" };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let endpoint = format!("  {}", data.endpoint);
    Line::from(vec![
        Span::styled("bpfgate top", bold),
        Span::styled(paused, bold),
        Span::raw(endpoint),
    ])
}

fn footer(view: &View) -> Line<'static> {
    if view.typing {
        let cursor = if view.bars.is_ascii() { '_' } else { '█' };
        return Line::from(format!("/{}{cursor}  enter keeps, esc drops", view.text));
    }
    let order = view.pane.orders()[view.order(view.pane)];
    let filter = if view.text.is_empty() { "filter" } else { &view.text };
    let scroll = if view.bars.is_ascii() { "j k" } else { "↑↓" };
    Line::from(format!(
        "tab {}  s by {order}  / {filter}  p pause  {scroll} scroll  ? keys  q quit",
        view.pane.name(),
    ))
}

fn draw_pane(frame: &mut Frame<'_>, area: Rect, pane: Pane, sheet: Sheet, view: &mut View) {
    let focused = pane == view.pane;
    let Sheet { title, columns, rows, empty } = sheet;
    let mut style = Style::new();
    if focused {
        style = style.add_modifier(Modifier::BOLD);
        if view.colour {
            style = style.fg(Color::Green);
        }
    }
    let order = pane.orders()[view.order(pane)];
    let frame_set = if view.bars.is_ascii() { PLAIN_FRAME } else { border::PLAIN };
    let block = if area.height < LEAST {
        // The numbers need the room.
        Block::new()
    } else {
        let reversed = if view.is_reversed(pane) { ", reversed" } else { "" };
        let title = format!(" {title} by {order}{reversed} ");
        Block::bordered().border_set(frame_set).border_style(style).title(title)
    };
    let inner = block.inner(area);
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).block(block), area);
        return;
    }
    if focused {
        view.page = usize::from(inner.height.saturating_sub(1)).max(1);
    }
    let widths = widths(columns, &rows, inner.width.into());
    let shown: Vec<usize> = (0..columns.len()).filter(|at| widths[*at] > 0).collect();
    let line = |texts: &[&str]| {
        let cell = |&at: &usize| {
            let text = Text::from(texts[at].to_owned());
            if columns[at].right { text.right_aligned() } else { text }
        };
        Row::new(shown.iter().map(cell).collect::<Vec<_>>())
    };
    let headings: Vec<_> = columns.iter().map(|column| column.heading).collect();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    let lengths = shown.iter().map(|at| u16::try_from(widths[*at]).unwrap_or(u16::MAX));
    let mut table = Table::new(lines, lengths.map(Constraint::Length))
        .header(line(&headings).style(bold))
        .block(block);
    if focused {
        table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    }
    frame.render_stateful_widget(table, area, &mut view.tables[pane as usize]);
}

/// As wide as what is in it. The longest texts give way first; then what does not fit whole is left
/// out (half a number reads as another one): texts, then numbers, and the name last.
fn widths(columns: &[Column], rows: &[Vec<String>], room: usize) -> Vec<usize> {
    let wanted = |at: usize| {
        let cells = rows.iter().map(|row| human::width(&row[at]));
        cells.chain([columns[at].heading.len()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(wanted).collect();
    let gaps = columns.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
    while over > 0 {
        let text = |at: &usize| !columns[*at].right && widths[*at] > NARROW;
        if let Some(widest) = (0..columns.len()).filter(text).max_by_key(|at| widths[*at]) {
            let less = over.min(widths[widest] - NARROW).min(4);
            widths[widest] -= less;
            over -= less;
            continue;
        }
        let there = (0..columns.len()).rev().filter(|at| widths[*at] > 0);
        let order = |at: &usize| (columns[*at].name, columns[*at].right);
        let Some(least) = there.min_by_key(order) else { break };
        over = over.saturating_sub(std::mem::take(&mut widths[least]) + 1);
    }
    widths
}
