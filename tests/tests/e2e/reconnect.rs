//! Watches that outlive a connection, and an agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bpfgate_client::v1::MapType;
use bpfgate_client::{
    Change, Client, Code, Counter, CounterView, Error, Reconnect, Standing, UpdateMode, Watch,
    WatchEvent, WatchOptions, parse_selector,
};
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, NewMap, SOON};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

fn options() -> WatchOptions {
    let first_pause = Duration::from_millis(20);
    let longest_pause = Duration::from_millis(200);
    let reconnect = Reconnect { first_pause, longest_pause, give_up_after: None };
    let interval = Some(Duration::from_millis(50));
    WatchOptions { interval, reconnect: Some(reconnect), ..WatchOptions::default() }
}

async fn hits(client: &Client) {
    let map = NewMap::new("hits", MapType::Hash).key(unsigned(4)).value(unsigned(8));
    map.counter("", "packets").make(client).await;
}

async fn set(client: &Client, key: u32, value: u64) {
    let (key, value) = (key.to_ne_bytes(), value.to_ne_bytes());
    client.maps().update("hits", key, value, UpdateMode::Any).await.unwrap();
}

/// A watch and what it comes to.
struct Watching {
    watch: Watch,
    view: CounterView,
}

impl Watching {
    async fn of(client: &Client) -> Self {
        let selectors = vec![parse_selector("hits").unwrap()];
        let watch = client.maps().watch_counters(selectors, options()).await.unwrap();
        let view = CounterView::new(watch.header());
        Self { watch, view }
    }

    async fn change(&mut self) -> Result<Change, Error> {
        let next = tokio::time::timeout(SOON, self.watch.next_event()).await;
        let event = next.unwrap_or_else(|_| panic!("silence: {self:?}", self = self.view))?;
        let event = event.expect("it does not end");
        Ok(self.view.apply(&event).unwrap())
    }

    async fn until(&mut self, done: impl Fn(&Change, &CounterView) -> bool) {
        let reached = tokio::time::timeout(SOON, async {
            loop {
                let change = self.change().await.unwrap();
                if done(&change, &self.view) {
                    return;
                }
            }
        });
        assert!(reached.await.is_ok(), "it did not come to that: {:?}", self.view);
    }

    async fn until_value(&mut self, key: &str, value: i128) {
        self.until(|_, view| {
            counter(view, key).is_some_and(|it| !it.is_stale() && it.value().total() == value)
        })
        .await;
    }

    fn counter(&self, key: &str) -> Counter<'_> {
        counter(&self.view, key).unwrap_or_else(|| panic!("no counter {key}: {:?}", self.view))
    }
}

fn counter<'v>(view: &'v CounterView, key: &str) -> Option<Counter<'v>> {
    view.counters().find(|counter| counter.key().label("key") == Some(key))
}

/// A socket in front of an agent's, whose connections can be cut.
struct Wire {
    path: PathBuf,
    agent: PathBuf,
    open: JoinSet<()>,
}

impl Wire {
    fn to(agent: &Agent) -> Self {
        let path = agent.directory().join("wire.sock");
        let mut this = Self { path, agent: agent.socket(), open: JoinSet::new() };
        this.connect();
        this
    }

    fn connect(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let agent = self.agent.clone();
        self.open.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut agent = UnixStream::connect(&agent).await.unwrap();
                pairs.spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut agent).await;
                });
            }
        });
    }

    /// Every connection breaks, and no new one can be made.
    async fn cut(&mut self) {
        self.open.shutdown().await;
        std::fs::remove_file(&self.path).unwrap();
    }
}

async fn through(path: &Path) -> Client {
    Client::connect(&format!("unix:{}", path.display())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_resets_nothing() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    hits(&client).await;
    for key in [1, 2, 3] {
        set(&client, key, 1000).await;
    }
    let mut wire = Wire::to(&agent);
    let mut watching = Watching::of(&through(&wire.path).await).await;
    watching.until_value("3", 1000).await;
    // A key that is younger than the map.
    set(&client, 4, 1000).await;
    watching.until_value("4", 1000).await;
    let before = ["1", "4"].map(|key| watching.counter(key).id());

    wire.cut().await;
    watching.until(|change, _| *change == Change::Interrupted).await;
    assert!(watching.counter("1").is_stale() && watching.counter("1").rate().is_none());
    assert_eq!(watching.counter("1").value().total(), 1000);
    set(&client, 1, 1500).await;
    client.maps().delete_entry("hits", 2_u32.to_ne_bytes()).await.unwrap();
    // What was counted before it went is not what was counted since.
    client.maps().delete_entry("hits", 3_u32.to_ne_bytes()).await.unwrap();
    set(&client, 3, 7).await;
    wire.connect();

    watching.until(|change, _| *change == Change::Resumed { restarted: false }).await;
    watching.until(|change, _| matches!(change, Change::Synced(gone) if gone.len() == 1)).await;
    assert_eq!(watching.view.gaps(), 1);
    assert!(counter(&watching.view, "2").is_none());
    assert_eq!(["1", "4"].map(|key| watching.counter(key).id()), before);
    let (grown, reset) = (watching.counter("1"), watching.counter("3"));
    assert_eq!((grown.resets(), grown.value().total()), (0, 1500));
    assert!(grown.rate().unwrap() >= 0.0);
    assert_eq!((reset.resets(), reset.rate(), reset.value().total()), (1, None, 7));
    assert_eq!(watching.counter("4").resets(), 0);
    set(&client, 1, 1600).await;
    watching.until_value("1", 1600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_and_started_again_is_watched_anew() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::builder().runtime_dir(directory.path()).spawn();
    let client = agent.client().await;
    hits(&client).await;
    set(&client, 1, 1000).await;
    set(&client, 2, 1000).await;
    let mut watching = Watching::of(&client).await;
    watching.until_value("1", 1000).await;
    let boot = watching.watch.header().boot_id.clone();
    agent.kill();
    watching.until(|change, _| *change == Change::Interrupted).await;
    // It keeps trying while nobody is there.
    watching.until(|change, _| *change == Change::Interrupted).await;
    assert_eq!(watching.counter("2").value().total(), 1000);

    let agent = Agent::builder().runtime_dir(directory.path()).spawn();
    let client = agent.client().await;
    hits(&client).await;
    set(&client, 1, 5000).await;
    // The watch may be there before the map: then the counter is a new one, else one that was
    // reset. Either way 4000 more is no rate.
    let settled = |_: &Change, view: &CounterView| {
        let one = counter(view, "1").filter(|it| !it.is_stale() && it.value().total() == 5000);
        assert!(one.is_none_or(|it| it.rate().is_none_or(|rate| rate == 0.0)), "{view:?}");
        one.is_some() && view.standing() == Standing::Live && counter(view, "2").is_none()
    };
    watching.until(settled).await;
    assert_eq!((watching.view.gaps(), &watching.watch.header().boot_id), (1, &boot));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_heal_ends_a_watch() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    hits(&client).await;
    set(&client, 1, 1).await;
    let mut wire = Wire::to(&agent);
    let selectors = vec![parse_selector("hits:packets").unwrap()];
    // There is no such field, but the map is not there yet either.
    client.maps().delete("hits").await.unwrap();
    let watch = through(&wire.path).await.maps().watch_counters(selectors, options()).await;
    let mut watch = watch.unwrap();
    hits(&client).await;
    wire.cut().await;
    wire.connect();
    let end = loop {
        match tokio::time::timeout(SOON, watch.next_event()).await.expect("an end") {
            Ok(Some(WatchEvent::Resumed(_))) => panic!("it was granted"),
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended well"),
            Err(error) => break error,
        }
    };
    assert_eq!(end.code(), Some(Code::InvalidArgument), "{end}");
    assert!(watch.next_event().await.unwrap().is_none());
}
