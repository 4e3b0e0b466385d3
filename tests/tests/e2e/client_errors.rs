//! What the client crate's `# Errors` sections say is what comes: codes, and the words of reasons.

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{MapType, SocketTarget};
use bpfgate_client::{
    Client, CpuMode, Error, EventFilter, EventOptions, IterateOptions, MapFilter, UpdateMode,
    WatchOptions, parse_selector,
};
use bpfgate_tests::calls::{header, load_builtin, try_load};
use bpfgate_tests::{Agent, NewMap, elf};

/// `CODE REASON` of a refusal, or the name of another error.
fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.expect_err("an error") {
        Error::Rpc(error) => format!("{:?} {}", error.code, error.reason.unwrap_or_default()),
        Error::Protocol { .. } => "Protocol".to_owned(),
        other => format!("{other:?}"),
    }
}

const KEY: [u8; 4] = [1, 0, 0, 0];
const FAR: [u8; 4] = [99, 0, 0, 0];
const VALUE: [u8; 8] = [0; 8];

/// A hash with one entry and room for no other, an array, a queue with room for one value, a
/// filter, and a built-in with its maps.
async fn client(agent: &Agent) -> Client {
    let client = agent.client().await;
    NewMap::hash("h").entries(1).make(&client).await;
    NewMap::array("a").make(&client).await;
    NewMap::new("q", MapType::Queue).sizes(0, 8).entries(1).make(&client).await;
    NewMap::new("f", MapType::BloomFilter).sizes(0, 8).make(&client).await;
    load_builtin(&client, "proto-counters").await;
    client.maps().update("h", KEY, VALUE, UpdateMode::Any).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn single_entries_are_refused_as_documented() {
    let agent = Agent::spawn();
    let client = client(&agent).await;
    let maps = client.maps();
    let (each, any) = (CpuMode::Each, UpdateMode::Any);

    assert_eq!(said(maps.lookup("none", KEY, each).await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(maps.lookup("h", FAR, each).await), "NotFound NO_SUCH_KEY");
    assert_eq!(said(maps.lookup("a", FAR, each).await), "OutOfRange OUT_OF_RANGE");
    assert_eq!(said(maps.lookup("h", [1], each).await), "InvalidArgument KEY_LENGTH");
    let unsupported = "Unimplemented UNSUPPORTED_OPERATION";
    assert_eq!(said(maps.lookup("q", KEY, each).await), unsupported);
    assert_eq!(said(maps.lookup_typed("h", KEY, each).await), "FailedPrecondition NO_SCHEMA");
    assert_eq!(said(maps.lookup_reference("h", KEY).await), "Protocol");

    let update = |map, key, mode| maps.update(map, key, VALUE, mode);
    assert_eq!(said(update("none", KEY, any).await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(update("h", FAR, UpdateMode::Exist).await), "NotFound NO_SUCH_KEY");
    assert_eq!(said(update("h", KEY, UpdateMode::Noexist).await), "AlreadyExists KEY_EXISTS");
    assert_eq!(said(update("h", FAR, any).await), "ResourceExhausted MAP_FULL");
    assert_eq!(said(update("a", FAR, any).await), "OutOfRange OUT_OF_RANGE");
    assert_eq!(said(maps.update("h", KEY, [0], any).await), "InvalidArgument VALUE_LENGTH");
    assert_eq!(said(maps.delete_entry("a", KEY).await), unsupported);
    assert_eq!(said(maps.delete_entry("h", FAR).await), "NotFound NO_SUCH_KEY");
    assert_eq!(said(maps.lookup_and_delete("a", KEY, each).await), unsupported);

    maps.push("q", VALUE).await.unwrap();
    assert_eq!(said(maps.push("q", VALUE).await), "ResourceExhausted MAP_FULL");
    assert_eq!(said(maps.push("h", VALUE).await), unsupported);
    assert_eq!(said(maps.push_replacing("f", VALUE).await), "InvalidArgument BAD_FIELD");
    maps.pop("q").await.unwrap();
    assert_eq!(said(maps.pop("q").await), "NotFound EMPTY");
    assert_eq!(said(maps.peek("q").await), "NotFound EMPTY");
    assert_eq!(said(maps.pop("h").await), unsupported);
    assert_eq!(said(maps.peek("h").await), unsupported);
    assert_eq!(said(maps.may_contain("q", VALUE).await), "InvalidArgument BAD_FIELD");
    assert_eq!(said(maps.may_contain("h", VALUE).await), unsupported);

    maps.freeze("a").await.unwrap();
    assert_eq!(said(update("a", KEY, any).await), "FailedPrecondition FROZEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_maps_are_refused_as_documented() {
    let agent = Agent::spawn();
    let client = client(&agent).await;
    let maps = client.maps();

    assert_eq!(said(maps.get("none").await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(maps.get("a b").await), "InvalidArgument BAD_NAME");
    let filter = MapFilter { names: vec!["a b".to_owned()], ..MapFilter::default() };
    assert_eq!(said(maps.list(filter).await), "InvalidArgument BAD_NAME");
    assert_eq!(said(maps.delete("none").await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(maps.delete("id:1").await), "InvalidArgument BAD_NAME");
    assert_eq!(said(maps.delete("proto-counters/stats").await), "FailedPrecondition IN_USE");
    assert_eq!(said(maps.pin("none", "p").await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(maps.pin("h", "../p").await), "InvalidArgument BAD_FIELD");
    maps.pin("h", "p").await.unwrap();
    assert_eq!(said(maps.pin("a", "p").await), "AlreadyExists NAME_TAKEN");
    maps.unpin("p").await.unwrap();
    assert_eq!(said(maps.unpin("p").await), "NotFound NO_SUCH_MAP");

    let options = IterateOptions::default;
    assert_eq!(said(maps.iterate("none", options()).await), "NotFound NO_SUCH_MAP");
    let unsupported = "Unimplemented UNSUPPORTED_OPERATION";
    assert_eq!(said(maps.iterate("q", options()).await), unsupported);
    let resumed = IterateOptions { resume_token: b"x"[..].into(), ..options() };
    assert_eq!(said(maps.iterate("h", resumed).await), "InvalidArgument BAD_RESUME_TOKEN");
    let typed = IterateOptions { typed: true, ..options() };
    assert_eq!(said(maps.iterate("h", typed).await), "FailedPrecondition NO_SCHEMA");

    let watch = |text: &str| vec![parse_selector(text).unwrap()];
    let options = WatchOptions::default;
    assert_eq!(said(maps.watch_counters(vec![], options()).await), "InvalidArgument NO_SELECTOR");
    let strange = watch("proto-counters/stats{x=1}");
    assert_eq!(
        said(maps.watch_counters(strange, options()).await),
        "InvalidArgument NO_SUCH_LABEL"
    );
    assert_eq!(said(maps.watch_counters(watch("q"), options()).await), unsupported);
    let nothing = maps.watch_counters(watch("none"), options()).await.unwrap();
    assert_eq!(nothing.header().unmatched, ["none"]);
    drop(nothing);

    let options = EventOptions::default;
    assert_eq!(said(maps.watch_events("none", options()).await), "NotFound NO_SUCH_MAP");
    assert_eq!(said(maps.watch_events("h", options()).await), unsupported);
    NewMap::new("r", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    let filters = vec![EventFilter::is("pid", "1")];
    let filtered = EventOptions { filters, ..options() };
    assert_eq!(said(maps.watch_events("r", filtered).await), "FailedPrecondition NO_SCHEMA");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_links_are_refused_as_documented() {
    let agent = Agent::spawn();
    let client = client(&agent).await;
    let (objects, links) = (client.objects(), client.links());

    let mut strange = header("x");
    strange.builtin = "none".to_owned();
    assert_eq!(said(objects.load_builtin(strange).await), "NotFound NO_SUCH_BUILTIN");
    let mut again = header("proto-counters");
    again.builtin = "proto-counters".to_owned();
    assert_eq!(said(objects.load_builtin(again).await), "AlreadyExists NAME_TAKEN");
    let mut shared = header("x");
    shared.builtin = "proto-counters".to_owned();
    shared.shared_maps.insert("stats".to_owned(), "none".to_owned());
    assert_eq!(said(objects.load_builtin(shared.clone()).await), "NotFound NO_SUCH_MAP");
    shared.shared_maps.insert("stats".to_owned(), "h".to_owned());
    assert_eq!(said(objects.load_builtin(shared).await), "FailedPrecondition NOT_SHAREABLE");
    assert_eq!(said(objects.load_bytes(header("x"), "no ELF").await), "InvalidArgument BAD_OBJECT");
    let rejected = try_load(&client, header("x"), elf::REJECTED).await;
    assert_eq!(said(rejected), "InvalidArgument VERIFIER_REJECTED");
    assert_eq!(said(objects.get("none").await), "NotFound NO_SUCH_OBJECT");
    assert_eq!(said(objects.unload("none").await), "NotFound NO_SUCH_OBJECT");
    assert_eq!(said(objects.verifier_log("none").await), "NotFound NO_SUCH_LOG");
    assert_eq!(said(objects.program_stats(Some("none"), false).await), "NotFound NO_SUCH_OBJECT");

    let socket = |interface: &str| Target::Socket(SocketTarget { interface: interface.to_owned() });
    let program = "proto-counters/count_protocols";
    let attach = |program, to| links.attach(program, Some(to));
    assert_eq!(said(attach("none/x", socket("lo")).await), "NotFound NO_SUCH_OBJECT");
    assert_eq!(said(attach(program, socket("none")).await), "NotFound NO_SUCH_TARGET");
    let elsewhere = Target::Tracing(bpfgate_client::v1::TracingTarget {});
    assert_eq!(said(attach(program, elsewhere).await), "InvalidArgument WRONG_TARGET");
    assert_eq!(said(links.detach(99).await), "NotFound NO_SUCH_LINK");
    assert_eq!(said(links.list(Some("a b")).await), "InvalidArgument BAD_NAME");
}
