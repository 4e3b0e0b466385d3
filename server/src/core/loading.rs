//! A load from the file's bytes to the object under its name. The work goes by itself, with its
//! place and its name, so that whoever asked can leave: then it is stopped, and keeps both until it
//! really is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bpfgate_ebpf::Builtin;
use bpfgate_proto::name::{MapRef, ObjectName};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{error, info};

use super::making::{Made, Making, declare, no_builtin};
use super::object::Object;
use super::registry::{Registry, Reservation};
use super::{Error, Labels, NoRoom};
use crate::broker::{self, Stop};
use crate::elf::{GlobalValue, ParseRequest, Parser};
use crate::ledger::{Account, Charge};
use crate::watch::CounterSpec;

/// From call to call on a thread that is to come out of the kernel.
const CALLS: Duration = Duration::from_millis(10);
/// A thread that does not come for so long hangs.
const HANGS: Duration = Duration::from_secs(2);
/// From call to call on one that hangs.
const RARE_CALLS: Duration = Duration::from_secs(1);

/// Where an object's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// The caller.
    Upload {
        /// The ELF file.
        elf: Bytes,
        /// Of the file.
        sha256: [u8; 32],
        /// For the bytes.
        charge: Charge,
    },
    /// The agent itself: the built-in's name.
    Builtin(String),
}

/// An object to load.
#[derive(Debug)]
pub struct LoadRequest {
    /// Its name.
    pub name: ObjectName,
    /// Its bytes.
    pub source: Source,
    /// Global variables to set.
    pub globals: BTreeMap<String, GlobalValue>,
    /// Maps to use instead of making them, by the name in the object.
    pub shared: BTreeMap<String, MapRef>,
    /// Notes.
    pub labels: Labels,
    /// What the numbers count, by the map's name in the object.
    pub counters: BTreeMap<String, Vec<CounterSpec>>,
    /// Keep the verifier's log if it rejects a program.
    pub keep_log: bool,
    /// Who pays for what the agent has to remember.
    pub account: Account,
}

/// The places for loads.
#[derive(Debug)]
pub(super) struct Loads {
    places: Arc<Semaphore>,
    hung: AtomicU64,
}

/// A place for one load, from its upload on.
#[derive(Debug)]
#[must_use = "dropping the place gives it back"]
pub struct LoadPlace {
    _permit: OwnedSemaphorePermit,
}

impl Loads {
    pub(super) fn new(places: u32) -> Self {
        Self { places: Arc::new(Semaphore::new(places as usize)), hung: AtomicU64::new(0) }
    }
}

/// An object and warnings, of the parser and about counters.
type Loaded = (Arc<Object>, Vec<String>);

impl Registry {
    /// A place for a load, if there is one now.
    pub fn load_place(&self) -> Result<LoadPlace, Error> {
        let limit = self.limits().max_loads.into();
        let (what, name) = ("loads at once", "max_loads");
        let permit = self.loads().places.clone().try_acquire_owned();
        let permit = permit.map_err(|_| NoRoom::TooMany { what, name, limit })?;
        Ok(LoadPlace { _permit: permit })
    }

    /// Loads that hang in the kernel and do not give way. Their places stay taken.
    pub fn hung_loads(&self) -> u64 {
        self.loads().hung.load(Ordering::Relaxed)
    }

    /// Loads an object. All or nothing. The answer has warnings, of the parser and about
    /// counters. Dropping the future stops the work.
    pub async fn load(
        self: &Arc<Self>,
        parser: &Parser,
        request: LoadRequest,
        place: LoadPlace,
    ) -> Result<Loaded, Error> {
        let (tell, answer) = oneshot::channel();
        let work = self.clone().load_by_itself(parser.clone(), request, place, tell);
        tokio::spawn(work);
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    async fn load_by_itself(
        self: Arc<Self>,
        parser: Parser,
        request: LoadRequest,
        place: LoadPlace,
        mut tell: oneshot::Sender<Result<Loaded, Error>>,
    ) {
        let seconds = self.limits().load_seconds;
        let keeps_log = request.keep_log.then(|| request.account.caller());
        let deadline = Instant::now() + self.limits().load_time();
        // Whoever has an answer can have the place and the name.
        let finish = |tell: oneshot::Sender<_>, held, answer| {
            drop::<(LoadPlace, Option<Reservation>)>(held);
            // Nobody may be there to hear it.
            let _ = tell.send(answer);
        };
        let reservation = match self.reserve(&request.name) {
            Ok(reservation) => reservation,
            Err(refusal) => return finish(tell, (place, None), Err(refusal)),
        };
        let parsed = tokio::select! {
            parsed = timeout_at(deadline, parse(&parser, request)) => parsed,
            () = tell.closed() => return,
        };
        let stop = Arc::new(Stop::default());
        let started = match parsed {
            Ok(parsed) => parsed.and_then(|making| self.clone().make(making, stop.clone())),
            Err(_) => Err(Error::SlowLoad { seconds }),
        };
        let mut made = match started {
            Ok(made) => made,
            Err(refusal) => return finish(tell, (place, Some(reservation)), Err(refusal)),
        };
        tokio::select! {
            biased;
            made = &mut made => {
                let made = made.unwrap_or(Err(Error::Stopping));
                let loaded = made.and_then(|(object, maps, warnings)| {
                    Ok((self.insert(object, maps)?, warnings))
                });
                let loaded = loaded.map_err(|error| self.with_log(error, keeps_log.as_ref()));
                return finish(tell, (place, Some(reservation)), loaded);
            }
            () = tell.closed() => {}
            () = sleep_until(deadline) => drop(tell.send(Err(Error::SlowLoad { seconds }))),
        }
        self.stop_making(&stop, made, reservation.name()).await;
    }

    /// A rejection names its log, if that is to be kept.
    fn with_log(self: &Arc<Self>, error: Error, account: Option<&Account>) -> Error {
        match (error, account) {
            (Error::Broker(source @ broker::Error::Rejected { .. }), Some(account)) => {
                let broker::Error::Rejected { log, .. } = &source else { return source.into() };
                match self.keep_log(log.clone(), account) {
                    Some(log) => Error::Rejected { log, source: Box::new(source) },
                    None => source.into(),
                }
            }
            (error, _) => error,
        }
    }

    /// On a thread of its own: one that comes out of the kernel when it is called, and that nobody
    /// else needs if it does not.
    fn make(
        self: Arc<Self>,
        making: Making,
        stop: Arc<Stop>,
    ) -> Result<oneshot::Receiver<Result<Made, Error>>, Error> {
        let (tell, made) = oneshot::channel();
        let work = move || {
            let made = stop.during(|| making.make(&self, &stop));
            // What nobody waits for goes here, where it may take its time.
            if !stop.is_told() {
                drop(tell.send(made));
            }
        };
        let started = std::thread::Builder::new().name("load".into()).spawn(work);
        match started {
            Ok(_) => Ok(made),
            Err(error) => {
                Err(broker::Error::Host(format!("could not start a thread: {error}")).into())
            }
        }
    }

    /// Until the thread is back, however long that takes.
    async fn stop_making<T>(
        &self,
        stop: &Stop,
        mut made: oneshot::Receiver<T>,
        object: &ObjectName,
    ) {
        let start = Instant::now();
        let mut hangs = false;
        loop {
            stop.tell();
            tokio::select! {
                _ = &mut made => break,
                () = sleep(if hangs { RARE_CALLS } else { CALLS }) => {}
            }
            if !hangs && start.elapsed() > HANGS {
                hangs = true;
                self.loads().hung.fetch_add(1, Ordering::Relaxed);
                error!(%object, "a load hangs in the kernel");
            }
        }
        if hangs {
            self.loads().hung.fetch_sub(1, Ordering::Relaxed);
            info!(%object, seconds = start.elapsed().as_secs(), "a load that hung has ended");
        }
    }
}

async fn parse(parser: &Parser, request: LoadRequest) -> Result<Making, Error> {
    let LoadRequest { name, source, globals, shared, labels, mut counters, keep_log, account } =
        request;
    let account = account.caller();
    let asked: Vec<String> = counters.keys().cloned().collect();
    let (elf, sha256, builtin, _charge): (_, _, Option<&'static Builtin>, _) = match source {
        Source::Upload { elf, sha256, charge } => (elf, sha256, None, Some(charge)),
        Source::Builtin(wanted) => {
            let found = bpfgate_ebpf::find(&wanted).ok_or_else(|| no_builtin(&wanted))?;
            declare(&mut counters, found);
            let elf = Bytes::from_static(found.elf);
            let sha256 = Sha256::digest(&elf).into();
            (elf, sha256, Some(found), None)
        }
    };
    let (plan, charge) = parser.parse(ParseRequest { elf, globals }, &account).await?;
    Ok(Making {
        name,
        sha256,
        builtin,
        plan,
        _charge: charge,
        shared,
        labels,
        counters,
        asked,
        keep_log,
        account,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Limits;
    use crate::ledger::Ledger;

    #[tokio::test(start_paused = true)]
    async fn a_load_that_hangs_is_counted_until_it_ends() {
        let registry =
            Registry::new(Limits::default(), None, &Ledger::new(0, Limits::default().seats()));
        let registry = Arc::new(registry);
        let (made, gone) = oneshot::channel::<()>();
        let stopping = tokio::spawn({
            let registry = registry.clone();
            async move {
                let name = "o".parse().unwrap();
                registry.stop_making(&Stop::default(), gone, &name).await;
            }
        });
        sleep(HANGS / 2).await;
        assert_eq!(registry.hung_loads(), 0);
        sleep(HANGS).await;
        assert_eq!(registry.hung_loads(), 1);
        drop(made);
        stopping.await.unwrap();
        assert_eq!(registry.hung_loads(), 0);
    }
}
