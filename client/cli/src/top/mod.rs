//! `bpfgate top`: maps, programs, links and the fastest counters on a full screen.
//!
//! [`data`] is what the agent tells, [`state`] what the keys change, [`panes`] the rows of each
//! pane, [`draw`] the screen, [`share`] who has how much of it. Here is the loop that joins them.

mod data;
mod draw;
mod panes;
mod share;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use bpfgate_client::v1::CounterSelector;
use bpfgate_client::{Error, Maps, Reconnect, Watch, WatchEvent, WatchOptions};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::TopArgs;
use crate::board::{Board, Filter, SCREEN_KEYS};
use crate::commands::{News, everything, say_absent_maps};
use crate::context::Context;
use crate::end::End;
use crate::exit::{Exit, Failure};
use crate::spark::Bars;

use data::{Data, Polled};
use state::{Asked, Then, View};

/// The most often that numbers move on the screen; a key is answered at once.
const REDRAW: Duration = Duration::from_millis(500);

/// Runs until a key, a signal or an error ends it, and gives the terminal back.
pub(crate) async fn run(context: &Context, args: TopArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let hint = "`top` needs a terminal; for a pipe there is `bpfgate watch counters`";
        return Err(Failure::new(Exit::Usage, hint));
    }
    let all = args.selectors.is_empty();
    let selectors = if all { everything() } else { args.selectors.clone() };
    let maps = context.client.maps().clone();
    let view = View::new(context.colour, Bars::of_locale(), context.zone.clone());
    let wants = Wants { maps, selectors, interval: args.interval, asked: view.asked() };
    // What is wrong with the request is said on a terminal that is still as it was.
    let watch = wants.watch().await?;
    if !all {
        say_absent_maps(context, watch.header(), &args.selectors, false).await?;
    }
    let polled = data::poll(context.client.clone(), !args.no_stats, args.interval);
    let board = Board::new(watch.header(), Filter::default());
    let data = Data::new(board, context.client.endpoint().to_string());

    let end = End::new(None)?;
    // From here on a panic gives the terminal back too.
    let terminal = ratatui::try_init()?;
    let news = News::default();
    let ended = Top { terminal, data, view, wants, watch, news, polled, end }.run().await;
    let restored = ratatui::try_restore();
    ended?;
    Ok(restored?)
}

/// What the agent is asked for: what comes first by the order on the screen, of all that there is.
struct Wants {
    maps: Maps,
    selectors: Vec<CounterSelector>,
    interval: Duration,
    asked: Asked,
}

impl Wants {
    async fn watch(&self) -> Result<Watch, Error> {
        let Asked { order, reverse, contains } = self.asked.clone();
        let options = WatchOptions {
            interval: Some(self.interval),
            resolve_declared: true,
            top: SCREEN_KEYS,
            order,
            reverse,
            contains,
            reconnect: Some(Reconnect::default()),
            ..WatchOptions::default()
        };
        self.maps.watch_counters(self.selectors.clone(), options).await
    }
}

struct Top {
    terminal: DefaultTerminal,
    data: Data,
    view: View,
    wants: Wants,
    watch: Watch,
    news: News,
    polled: mpsc::Receiver<Polled>,
    end: End,
}

impl Top {
    async fn run(mut self) -> Result<(), Failure> {
        let mut keys = keys();
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let draw = tokio::select! {
                () = self.end.come() => return Ok(()),
                key = keys.recv() => match key {
                    Some(key) if self.view.take(&key, &self.data) == Then::Quit => return Ok(()),
                    Some(_) => true,
                    // The terminal is gone.
                    None => return Ok(()),
                },
                _ = redraw.tick() => true,
                Some(polled) = self.polled.recv() => {
                    self.data.polled = polled;
                    false
                }
                event = self.watch.next_event() => {
                    let Some(event) = event? else { return Ok(()) };
                    self.take(&event);
                    false
                }
            };
            self.ask_again().await;
            if draw {
                let Self { terminal, data, view, .. } = &mut self;
                terminal.draw(|frame| draw::draw(frame, data, view))?;
            }
        }
    }

    /// Others come first by another order: the agent is asked for these.
    async fn ask_again(&mut self) {
        let asked = self.view.asked();
        if self.wants.asked == asked {
            return;
        }
        self.wants.asked = asked;
        match self.wants.watch().await {
            Ok(watch) => {
                self.data.board = Board::new(watch.header(), Filter::default());
                self.watch = watch;
            }
            // What there is stays in sight.
            Err(error) => self.data.news = Some(error.to_string()),
        }
    }

    fn take(&mut self, event: &WatchEvent) {
        match self.news.of(event) {
            Some(news) => self.data.news = Some(news),
            None if matches!(event, WatchEvent::Sync(_)) => self.data.news = None,
            None => {}
        }
        match self.data.board.apply(event) {
            Ok(change) => self.data.news = self.news.of_change(&change).or(self.data.news.take()),
            Err(odd) => self.watch.start_over(odd),
        }
    }
}

/// Keys and resizes, from a thread of their own: reading a terminal blocks. It ends with the
/// process.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        let read = || -> io::Result<bool> { Ok(sender.blocking_send(event::read()?).is_ok()) };
        while read().unwrap_or(false) {}
    });
    receiver
}
