//! What the keys change.

use bpfgate_client::CounterOrder;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use super::data::Data;
use super::panes::Pane;
use crate::board::{Filter, Sort};
use crate::human::Zone;
use crate::spark::Bars;

/// What the user sees of the data.
#[derive(Debug)]
pub(super) struct View {
    pub(super) pane: Pane,
    /// By [`Pane`]: the row that is marked, and which of its orders.
    pub(super) tables: [TableState; Pane::ALL.len()],
    orders: [usize; Pane::ALL.len()],
    reversed: [bool; Pane::ALL.len()],
    /// The keys are shown in place of the panes.
    pub(super) help: bool,
    /// What the filter is, and whether it is being typed.
    pub(super) text: String,
    pub(super) typing: bool,
    /// What it was before it was typed.
    asked_text: String,
    /// The data as they were when they were stopped.
    pub(super) frozen: Option<Box<Data>>,
    /// Rows of a page, as last drawn.
    pub(super) page: usize,
    pub(super) colour: bool,
    pub(super) bars: Bars,
    pub(super) zone: Zone,
}

/// What a key leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    Quit,
}

/// Which counters the agent is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) order: CounterOrder,
    pub(super) reverse: bool,
    pub(super) contains: String,
}

impl View {
    /// While a filter is typed only what is there is filtered.
    pub(super) fn asked(&self) -> Asked {
        let contains = if self.typing { &self.asked_text } else { &self.text };
        Asked {
            order: self.sort().order(),
            reverse: self.is_reversed(Pane::Counters),
            contains: contains.clone(),
        }
    }

    /// What the counters are sorted by.
    pub(super) fn sort(&self) -> Sort {
        [Sort::Rate, Sort::Value, Sort::Name][self.order(Pane::Counters)]
    }

    pub(super) fn new(colour: bool, bars: Bars, zone: Zone) -> Self {
        Self {
            pane: Pane::Counters,
            tables: std::array::from_fn(|_| TableState::default()),
            orders: [0; Pane::ALL.len()],
            reversed: [false; Pane::ALL.len()],
            help: false,
            text: String::new(),
            typing: false,
            asked_text: String::new(),
            frozen: None,
            page: 10,
            colour,
            bars,
            zone,
        }
    }

    pub(super) fn filter(&self) -> Filter {
        Filter::new(&self.text)
    }

    /// Which of its orders a pane has.
    pub(super) fn order(&self, pane: Pane) -> usize {
        self.orders[pane as usize] % pane.orders().len()
    }

    /// Whether what comes first by its order comes last.
    pub(super) fn is_reversed(&self, pane: Pane) -> bool {
        self.reversed[pane as usize]
    }

    /// Takes a key or a resize, which the next picture sees by itself.
    pub(super) fn take(&mut self, event: &Event, data: &Data) -> Then {
        let Event::Key(key) = event else { return Then::Stay };
        if key.kind == KeyEventKind::Release {
            return Then::Stay;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Then::Quit;
        }
        if self.typing {
            self.type_key(*key);
            return Then::Stay;
        }
        // Any key leads back.
        if std::mem::take(&mut self.help) {
            return Then::Stay;
        }
        self.command(key.code, data)
    }

    fn type_key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.text.clear();
            }
            KeyCode::Backspace => {
                self.text.pop();
            }
            KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::CONTROL) => self.text.push(c),
            _ => {}
        }
    }

    fn command(&mut self, key: KeyCode, data: &Data) -> Then {
        match key {
            KeyCode::Char('q') => return Then::Quit,
            // What Esc undoes first is a filter.
            KeyCode::Esc if self.text.is_empty() => return Then::Quit,
            KeyCode::Esc => self.text.clear(),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.turn(Pane::ALL.len() - 1);
            }
            KeyCode::Char(c @ '1'..='4') => self.pane = Pane::ALL[c as usize - '1' as usize],
            KeyCode::Char('s') => self.orders[self.pane as usize] = self.order(self.pane) + 1,
            KeyCode::Char('r') => {
                let reversed = &mut self.reversed[self.pane as usize];
                *reversed = !*reversed;
            }
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char('/') => {
                self.typing = true;
                self.asked_text.clone_from(&self.text);
            }
            KeyCode::Char('p' | ' ') => {
                let frozen = self.frozen.take();
                self.frozen = frozen.is_none().then(|| Box::new(data.clone()));
            }
            KeyCode::Down | KeyCode::Char('j') => self.table().select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.table().select_previous(),
            KeyCode::PageDown => {
                let page = u16::try_from(self.page).unwrap_or(u16::MAX);
                self.table().scroll_down_by(page);
            }
            KeyCode::PageUp => {
                let page = u16::try_from(self.page).unwrap_or(u16::MAX);
                self.table().scroll_up_by(page);
            }
            KeyCode::Home | KeyCode::Char('g') => self.table().select_first(),
            KeyCode::End | KeyCode::Char('G') => self.table().select_last(),
            _ => {}
        }
        Then::Stay
    }

    fn turn(&mut self, by: usize) {
        self.pane = Pane::ALL[(self.pane as usize + by) % Pane::ALL.len()];
    }

    fn table(&mut self) -> &mut TableState {
        &mut self.tables[self.pane as usize]
    }
}
