//! Streams and refusals as they come off the wire, from a stand-in for the agent that can
//! misbehave as the real one does not.

use std::pin::Pin;

use bpfgate_client::v1::iterate_response::Message as Iterate;
use bpfgate_client::v1::map_service_server::{MapService, MapServiceServer};
use bpfgate_client::v1::watch_counters_response::Message as Counters;
use bpfgate_client::v1::watch_events_response::Message as Records;
use bpfgate_client::v1::{self, iterate_end::Reason};
use bpfgate_client::{
    Client, Code, Error, EventNews, EventOptions, IterateOptions, WatchEvent, WatchOptions,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Plays the same script to everybody.
#[derive(Clone, Default)]
struct Script {
    iterate: Vec<Iterate>,
    watch: Vec<Counters>,
    events: Vec<Records>,
    refusal: Option<Status>,
}

impl Script {
    async fn client(self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(MapServiceServer::new(self));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Client::connect(&endpoint).await.unwrap()
    }

    fn refuse<T>(&self) -> Answer<T> {
        Err(self.refusal.clone().unwrap_or_else(|| Status::unimplemented("not in the script")))
    }
}

#[tonic::async_trait]
impl MapService for Script {
    type ReadValueStream = Messages<v1::ReadValueResponse>;
    type IterateStream = Messages<v1::IterateResponse>;
    type WatchCountersStream = Messages<v1::WatchCountersResponse>;
    type WatchEventsStream = Messages<v1::WatchEventsResponse>;

    async fn iterate(&self, _: Request<v1::IterateRequest>) -> Answer<Self::IterateStream> {
        let wrap = |message| Ok(v1::IterateResponse { message: Some(message) });
        Ok(Response::new(stream::iter(self.iterate.clone().into_iter().map(wrap)).boxed()))
    }

    async fn watch_counters(
        &self,
        _: Request<v1::WatchCountersRequest>,
    ) -> Answer<Self::WatchCountersStream> {
        let wrap = |message| Ok(v1::WatchCountersResponse { message: Some(message) });
        Ok(Response::new(stream::iter(self.watch.clone().into_iter().map(wrap)).boxed()))
    }

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let wrap = |message| Ok(v1::WatchEventsResponse { message: Some(message) });
        Ok(Response::new(stream::iter(self.events.clone().into_iter().map(wrap)).boxed()))
    }

    async fn read_value(&self, _: Request<v1::ReadValueRequest>) -> Answer<Self::ReadValueStream> {
        self.refuse()
    }
    async fn create_map(&self, _: Request<v1::CreateMapRequest>) -> Answer<v1::CreateMapResponse> {
        self.refuse()
    }
    async fn list_maps(&self, _: Request<v1::ListMapsRequest>) -> Answer<v1::ListMapsResponse> {
        self.refuse()
    }
    async fn get_map(&self, _: Request<v1::GetMapRequest>) -> Answer<v1::GetMapResponse> {
        Ok(Response::new(v1::GetMapResponse { map: None }))
    }
    async fn delete_map(&self, _: Request<v1::DeleteMapRequest>) -> Answer<v1::DeleteMapResponse> {
        self.refuse()
    }
    async fn lookup(&self, _: Request<v1::LookupRequest>) -> Answer<v1::LookupResponse> {
        self.refuse()
    }
    async fn update(&self, _: Request<v1::UpdateRequest>) -> Answer<v1::UpdateResponse> {
        self.refuse()
    }
    async fn lookup_batch(
        &self,
        _: Request<v1::LookupBatchRequest>,
    ) -> Answer<v1::LookupBatchResponse> {
        self.refuse()
    }
    async fn update_batch(
        &self,
        _: Request<v1::UpdateBatchRequest>,
    ) -> Answer<v1::UpdateBatchResponse> {
        self.refuse()
    }
    async fn delete_batch(
        &self,
        _: Request<v1::DeleteBatchRequest>,
    ) -> Answer<v1::DeleteBatchResponse> {
        self.refuse()
    }
    async fn restore(
        &self,
        _: Request<tonic::Streaming<v1::RestoreRequest>>,
    ) -> Answer<v1::RestoreResponse> {
        self.refuse()
    }
    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        self.refuse()
    }
    async fn lookup_and_delete(
        &self,
        _: Request<v1::LookupAndDeleteRequest>,
    ) -> Answer<v1::LookupAndDeleteResponse> {
        self.refuse()
    }
    async fn push(&self, _: Request<v1::PushRequest>) -> Answer<v1::PushResponse> {
        self.refuse()
    }
    async fn pop(&self, _: Request<v1::PopRequest>) -> Answer<v1::PopResponse> {
        self.refuse()
    }
    async fn peek(&self, _: Request<v1::PeekRequest>) -> Answer<v1::PeekResponse> {
        self.refuse()
    }
    async fn freeze(&self, _: Request<v1::FreezeRequest>) -> Answer<v1::FreezeResponse> {
        self.refuse()
    }
    async fn pin(&self, _: Request<v1::PinRequest>) -> Answer<v1::PinResponse> {
        self.refuse()
    }
    async fn unpin(&self, _: Request<v1::UnpinRequest>) -> Answer<v1::UnpinResponse> {
        self.refuse()
    }
}

fn iterate_header() -> Iterate {
    Iterate::Header(v1::IterateHeader { map_id: 7, key_stride: 1, value_stride: 2 })
}

fn entries() -> Iterate {
    let (keys, values) = (Bytes::from_static(b"ab"), Bytes::from_static(b"AABB"));
    Iterate::Entries(v1::PackedEntries { count: 2, keys, values, ..v1::PackedEntries::default() })
}

fn iterate_end(entries: u64) -> Iterate {
    let reason = Reason::Complete.into();
    Iterate::End(v1::IterateEnd { reason, entries, resume_token: Bytes::new() })
}

/// What came, and how it ended.
async fn drain(iterate: Vec<Iterate>) -> Result<usize, Error> {
    let client = Script { iterate, ..Script::default() }.client().await;
    let mut entries = client.maps().iterate("m", IterateOptions::default()).await?;
    let mut count = 0;
    while let Some(chunk) = entries.next_chunk().await? {
        count += chunk.iter().filter(|(key, value)| key.len() == 1 && value.len() == 2).count();
    }
    assert_eq!(entries.end().unwrap().reason(), Reason::Complete);
    assert!(entries.next_chunk().await?.is_none());
    Ok(count)
}

#[tokio::test]
async fn a_map_is_whole_only_with_its_end() {
    let whole = vec![iterate_header(), entries(), entries(), iterate_end(4)];
    assert_eq!(drain(whole).await.unwrap(), 4);

    let cut = drain(vec![iterate_header(), entries()]).await.unwrap_err();
    assert!(matches!(cut, Error::CutOff { rpc: "Iterate" }), "{cut:?}");
    let empty = drain(vec![]).await.unwrap_err();
    assert!(matches!(empty, Error::CutOff { rpc: "Iterate" }), "{empty:?}");
    let short = drain(vec![iterate_header(), entries(), iterate_end(4)]).await.unwrap_err();
    assert!(short.to_string().contains("4 entries, but 2 came"), "{short}");
    let headless = drain(vec![entries()]).await.unwrap_err();
    assert!(headless.to_string().contains("no header"), "{headless}");
}

async fn watch(messages: Vec<Counters>, once: bool) -> Vec<Result<WatchEvent, Error>> {
    let client = Script { watch: messages, ..Script::default() }.client().await;
    let options = WatchOptions { once, ..WatchOptions::default() };
    client.maps().watch_counters(vec![], options).await.unwrap().collect().await
}

#[tokio::test]
async fn a_snapshot_ends_behind_its_sync_and_a_watch_never() {
    let header = || Counters::Header(v1::WatchHeader::default());
    let sync = || Counters::Sync(v1::WatchSync { series: 0 });
    let events = watch(vec![header(), sync()], true).await;
    assert!(matches!(&events[..], [Ok(WatchEvent::Sync(_))]), "{events:?}");

    let early = watch(vec![header()], true).await;
    assert!(matches!(&early[..], [Err(Error::CutOff { .. })]), "{early:?}");
    let ended = watch(vec![header(), sync()], false).await;
    assert!(matches!(&ended[..], [Ok(_), Err(Error::CutOff { .. })]), "{ended:?}");

    let uneven = v1::CounterBatch { refs: vec![1], ..v1::CounterBatch::default() };
    // What makes no sense does not end it: it begins anew.
    let client = Script { watch: vec![header(), Counters::Batch(uneven)], ..Script::default() };
    let maps = client.client().await.maps();
    let mut watch = maps.watch_counters(vec![], WatchOptions::default()).await.unwrap();
    let wrong = watch.next_event().await.unwrap();
    let odd = |event: &WatchEvent| matches!(event, WatchEvent::Interrupted(gap) if gap.odd);
    assert!(wrong.as_ref().is_some_and(odd), "{wrong:?}");
}

/// How many records came and how many were lost, and why it ended.
async fn records(events: Vec<Records>) -> Result<(usize, u64, i32), Error> {
    let client = Script { events, ..Script::default() }.client().await;
    let mut events = client.maps().watch_events("m", EventOptions::default()).await?;
    let (mut came, mut missing) = (0, 0);
    while let Some(news) = events.next_news().await? {
        match news {
            EventNews::Batch(batch) => came += batch.iter().count(),
            EventNews::Loss(loss) => missing += loss.count,
            EventNews::Renamed(map) => panic!("{map:?}"),
        }
    }
    assert!(events.next_news().await?.is_none());
    Ok((came, missing, events.end().unwrap().reason))
}

#[tokio::test]
async fn records_end_with_their_map_or_are_cut_off() {
    let order = v1::ByteOrder::LittleEndian.into();
    let header =
        || Records::Header(v1::EventHeader { byte_order: order, ..v1::EventHeader::default() });
    let batch = || {
        let bytes = Bytes::from_static(b"aabb");
        let batch =
            v1::EventBatch { count: 2, records: bytes, record_size: 2, ..Default::default() };
        Records::Batch(batch)
    };
    let loss = Records::Loss(v1::EventLoss { count: 7, ..v1::EventLoss::default() });
    let end = |records| {
        let reason = v1::event_end::Reason::MapGone.into();
        Records::End(v1::EventEnd { reason, records })
    };
    let whole = records(vec![header(), batch(), loss, batch(), end(4)]).await;
    assert_eq!(whole.unwrap(), (4, 7, v1::event_end::Reason::MapGone.into()));

    let cut = records(vec![header(), batch()]).await.unwrap_err();
    assert!(matches!(cut, Error::CutOff { rpc: "WatchEvents" }), "{cut:?}");
    let short = records(vec![header(), batch(), end(4)]).await.unwrap_err();
    assert!(short.to_string().contains("4 records, but 2 came"), "{short}");
    let headless = records(vec![batch()]).await.unwrap_err();
    assert!(headless.to_string().contains("no header"), "{headless}");
}

#[tokio::test]
async fn a_refusal_keeps_its_reason_and_a_long_log() {
    let log = "0: (95) exit\n".repeat(20_000);
    let mut details = ErrorDetails::new();
    details.set_error_info("VERIFIER", "bpfgate", [("object".to_owned(), "o".to_owned())]);
    details.set_debug_info(Vec::<String>::new(), log.clone());
    let refusal = Status::with_error_details(Code::InvalidArgument, "object o: rejected", details);
    let client = Script { refusal: Some(refusal), ..Script::default() }.client().await;

    let error = client.maps().delete("m").await.unwrap_err();
    let error = error.as_rpc().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(error.code, Code::InvalidArgument);
    assert_eq!(error.reason.as_deref(), Some("VERIFIER"));
    assert_eq!(error.metadata["object"], "o");
    assert_eq!(error.verifier_log.as_deref(), Some(log.as_str()));

    let missing = client.maps().get("m").await.unwrap_err();
    assert!(missing.to_string().contains("GetMap makes no sense: it has no map"), "{missing}");
}
