//! Maps: their life, their entries, their counters.

use std::collections::HashMap;

use bpfgate_proto::v1;
use bpfgate_proto::v1::map_service_client::MapServiceClient;
use bpfgate_proto::value::value_to_json;
use bytes::Bytes;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::client::Client;
use crate::datum::{Datum, Operand};
use crate::entries::{Entries, IterateOptions};
use crate::error::{Call, Error};
use crate::events::{EventOptions, Events};
use crate::pieces::Pieces;
use crate::watch::{LabelResolution, Watch, WatchOptions};
use crate::{CpuMode, UpdateMode};

/// Calls about maps. `map` is a map reference everywhere: `OBJECT/MAP`, `MAP`, `id:123` or
/// `pin:PATH`; see [`crate::name::MapRef`].
#[derive(Debug, Clone)]
pub struct Maps {
    pub(crate) client: Client,
    unlocked: bool,
    pub(crate) wide_sums: bool,
    pub(crate) resolve: Vec<v1::LabelResolution>,
    pub(crate) resolve_declared: bool,
}

/// Which maps [`Maps::list`] lists: those that fit all of it. The default fits all maps.
#[derive(Debug, Clone, Default)]
pub struct MapFilter {
    /// Globs on names, of which one must fit; `*` does not cross `/`. None means all.
    pub names: Vec<String>,
    /// Types, of which one must fit. None means all.
    pub types: Vec<v1::MapType>,
    /// All of these must be there with these values.
    pub labels: HashMap<String, String>,
}

impl Maps {
    pub(crate) fn new(client: Client) -> Self {
        let (resolve, resolve_declared) = (Vec::new(), false);
        Self { client, unlocked: false, wide_sums: false, resolve, resolve_declared }
    }

    /// The same calls, but leaving the spin lock in a value alone: faster, and a value may be half
    /// written. Without effect on maps whose values have none.
    #[must_use]
    pub fn unlocked(&self) -> Self {
        Self { unlocked: true, ..self.clone() }
    }

    /// The same calls, but with [`CpuMode::Sum`] taking bytes as [`crate::Layout::sum`] reads them
    /// where sums need more room than one CPU's value has. Otherwise such lookups are refused.
    #[must_use]
    pub fn wide_sums(&self) -> Self {
        Self { wide_sums: true, ..self.clone() }
    }

    /// The same calls, with typed keys by the names that the agent's host has for their numbers:
    /// those fields in requests and answers, and with `declared` in answers also those that the
    /// map's maker declared. In requests these may always be written so.
    #[must_use]
    pub fn naming(&self, resolve: &[LabelResolution], declared: bool) -> Self {
        let resolve = resolve.iter().map(LabelResolution::request).collect();
        Self { resolve, resolve_declared: declared, ..self.clone() }
    }

    /// Makes a map that the agent owns: a [`NewMap`](crate::NewMap), or the request as it is.
    ///
    /// # Errors
    ///
    /// [`Code::AlreadyExists`](crate::Code) if the name is taken, [`Code::ResourceExhausted`](crate::Code)
    /// at a limit, [`Code::InvalidArgument`](crate::Code) for what the kernel does not make.
    pub async fn create(&self, map: impl Into<v1::CreateMapRequest>) -> Result<v1::Map, Error> {
        let call = self.client.call("CreateMap");
        let answer = call.answer(self.rpc().create_map(call.request(map.into())).await)?;
        call.part(answer.map, "map")
    }

    /// The maps that the agent owns, in order of name, without schema and capabilities.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a glob that is none.
    pub async fn list(&self, filter: MapFilter) -> Result<Vec<v1::Map>, Error> {
        Ok(self.list_maps(filter, false).await?.maps)
    }

    /// The host's maps: those of the agent in order of name, behind them those of others in order
    /// of id, which have no name here; the filter's globs are for their kernel's names. Each with
    /// its pins and the processes that hold it.
    ///
    /// # Errors
    ///
    /// As [`Self::list`]; `FAILED_PRECONDITION` where the agent lacks `CAP_SYS_ADMIN`.
    pub async fn list_all(&self, filter: MapFilter) -> Result<v1::ListMapsResponse, Error> {
        self.list_maps(filter, true).await
    }

    async fn list_maps(&self, filter: MapFilter, all: bool) -> Result<v1::ListMapsResponse, Error> {
        let MapFilter { names, types, labels } = filter;
        let types = types.into_iter().map(i32::from).collect();
        let call = self.client.call("ListMaps");
        let request = call.request(v1::ListMapsRequest { names, types, labels, all });
        call.answer(self.rpc().list_maps(request).await)
    }

    /// All that is known of one map: its schema and what can be done with it among it.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_MAP`) if there is none, `INVALID_ARGUMENT` (`BAD_NAME`) for what is no
    /// reference.
    pub async fn get(&self, map: &str) -> Result<v1::Map, Error> {
        let call = self.client.call("GetMap");
        let request = call.request(v1::GetMapRequest { map: map.to_owned() });
        let answer = call.answer(self.rpc().get_map(request).await)?;
        call.part(answer.map, "map")
    }

    /// Forgets a map made by [`Maps::create`].
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is none of that name, `INVALID_ARGUMENT` for `id:` and `pin:`,
    /// `FAILED_PRECONDITION` (`IN_USE`) for a map that belongs to an object or that one shares.
    pub async fn delete(&self, map: &str) -> Result<(), Error> {
        let call = self.client.call("DeleteMap");
        let request = call.request(v1::DeleteMapRequest { map: map.to_owned() });
        call.answer(self.rpc().delete_map(request).await)?;
        Ok(())
    }

    /// The bytes of one entry's value: one value, or with [`CpuMode::Each`] on a per-CPU map one
    /// for every possible CPU.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a map (`NO_SUCH_MAP`) or a key (`NO_SUCH_KEY`) that is not there,
    /// `OUT_OF_RANGE` for an index past an array's end, `INVALID_ARGUMENT` for a key of another
    /// size or type, `UNIMPLEMENTED` for a map without lookups, `RESOURCE_EXHAUSTED` (`TOO_LARGE`)
    /// for a value that [`Self::read_value`] would read.
    pub async fn lookup(
        &self,
        map: &str,
        key: impl Into<Operand>,
        cpu: CpuMode,
    ) -> Result<Bytes, Error> {
        Ok(self.lookup_as(map, key.into(), cpu, false).await?.value)
    }

    /// The same of a value that may be larger than a message, in pieces of one reading. On a per-CPU
    /// map one value for every possible CPU.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`]; [`Error::CutOff`] if the pieces end early.
    pub async fn read_value(&self, map: &str, key: impl Into<Operand>) -> Result<Vec<u8>, Error> {
        let call = self.client.call("ReadValue");
        let request = call.request(v1::ReadValueRequest {
            map: map.to_owned(),
            key: Some(key.into().into()),
            unlocked: self.unlocked,
            resolve: self.resolve.clone(),
        });
        let mut stream = call.answer(self.rpc().read_value(request).await)?;
        let mut pieces = Pieces::new(call);
        while !pieces.is_whole() {
            let piece = stream.message().await;
            pieces.add(piece.map(|piece| piece.map(|piece| (piece.data, piece.size))))?;
        }
        Ok(pieces.into_bytes())
    }

    /// One entry's value by the map's schema, 64-bit integers as strings. A list, one for every
    /// CPU, with [`CpuMode::Each`] on a per-CPU map.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`]; `FAILED_PRECONDITION` (`NO_SCHEMA`) for a map without a schema.
    pub async fn lookup_typed(
        &self,
        map: &str,
        key: impl Into<Operand>,
        cpu: CpuMode,
    ) -> Result<serde_json::Value, Error> {
        let answer = self.lookup_as(map, key.into(), cpu, true).await?;
        let value = self.client.call("Lookup").part(answer.typed_value, "typed_value")?;
        Ok(value_to_json(&value))
    }

    /// What one entry's value leads to, in a map of references. Sockets are told by their cookies,
    /// programs and maps that the agent does not own as `id:7`.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`]; [`Error::Protocol`] for a map whose values lead to nothing.
    pub async fn lookup_reference(
        &self,
        map: &str,
        key: impl Into<Operand>,
    ) -> Result<v1::Reference, Error> {
        let answer = self.lookup_as(map, key.into(), CpuMode::Each, false).await?;
        self.client.call("Lookup").part(answer.reference, "reference")
    }

    async fn lookup_as(
        &self,
        map: &str,
        key: Operand,
        cpu: CpuMode,
        typed: bool,
    ) -> Result<v1::LookupResponse, Error> {
        let call = self.client.call("Lookup");
        let (map, key) = (map.to_owned(), Some(key.into()));
        let request = call.request(v1::LookupRequest {
            map,
            key,
            cpu: cpu.into(),
            typed,
            unlocked: self.unlocked,
            wide_sums: self.wide_sums,
            resolve: self.resolve.clone(),
        });
        call.answer(self.rpc().lookup(request).await)
    }

    /// Writes one entry. When it returns, the entry is in the kernel. On a per-CPU map a single
    /// value goes to every CPU; `value_stride` bytes, or a list, give each its own. In maps of
    /// references the value is a [`v1::Reference`], in storage maps the key is one.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a map that is not there, and with [`UpdateMode::Exist`] a key;
    /// `ALREADY_EXISTS` with [`UpdateMode::Noexist`]; `INVALID_ARGUMENT` for a key or value of
    /// another size or type; `RESOURCE_EXHAUSTED` (`MAP_FULL`); `OUT_OF_RANGE` past an array's end;
    /// `PERMISSION_DENIED` (`READ_ONLY`) for a map that the agent does not own;
    /// `FAILED_PRECONDITION` for one that is frozen; `UNIMPLEMENTED` for one without updates;
    /// `ABORTED` (`BUSY`) if it stays locked.
    pub async fn update(
        &self,
        map: &str,
        key: impl Into<Operand>,
        value: impl Into<Operand>,
        mode: UpdateMode,
    ) -> Result<(), Error> {
        let call = self.client.call("Update");
        let request = call.request(v1::UpdateRequest {
            map: map.to_owned(),
            key: Some(key.into().into()),
            value: Some(value.into().into()),
            mode: mode.into(),
            unlocked: self.unlocked,
            resolve: self.resolve.clone(),
        });
        call.answer(self.rpc().update(request).await)?;
        Ok(())
    }

    /// Removes one entry.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a map or key that is not there; `UNIMPLEMENTED` for maps that keep all their
    /// entries, as arrays do; else as [`Self::update`].
    pub async fn delete_entry(&self, map: &str, key: impl Into<Operand>) -> Result<(), Error> {
        let call = self.client.call("Delete");
        let (map, key) = (map.to_owned(), Some(key.into().into()));
        let resolve = self.resolve.clone();
        let request = call.request(v1::DeleteRequest { map, key, resolve });
        call.answer(self.rpc().delete(request).await)?;
        Ok(())
    }

    /// Reads one entry and removes it, in one step. The value is as in [`Maps::lookup`].
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a map or key that is not there; `UNIMPLEMENTED` where map or kernel has no
    /// such step; else as [`Self::update`]. An entry whose value cannot be sent stays.
    pub async fn lookup_and_delete(
        &self,
        map: &str,
        key: impl Into<Datum>,
        cpu: CpuMode,
    ) -> Result<Bytes, Error> {
        Ok(self.lookup_and_delete_as(map, key.into(), cpu, false).await?.value)
    }

    /// The same by the map's schema: the value is as in [`Maps::lookup_typed`].
    ///
    /// # Errors
    ///
    /// As [`Self::lookup_and_delete`]; `FAILED_PRECONDITION` (`NO_SCHEMA`) for a map without a
    /// schema.
    pub async fn lookup_and_delete_typed(
        &self,
        map: &str,
        key: impl Into<Datum>,
        cpu: CpuMode,
    ) -> Result<serde_json::Value, Error> {
        let answer = self.lookup_and_delete_as(map, key.into(), cpu, true).await?;
        let value = self.client.call("LookupAndDelete").part(answer.typed_value, "typed_value")?;
        Ok(value_to_json(&value))
    }

    async fn lookup_and_delete_as(
        &self,
        map: &str,
        key: Datum,
        cpu: CpuMode,
        typed: bool,
    ) -> Result<v1::LookupAndDeleteResponse, Error> {
        let call = self.client.call("LookupAndDelete");
        let request = call.request(v1::LookupAndDeleteRequest {
            map: map.to_owned(),
            key: Some(key.into()),
            cpu: cpu.into(),
            typed,
            unlocked: self.unlocked,
            wide_sums: self.wide_sums,
            resolve: self.resolve.clone(),
        });
        call.answer(self.rpc().lookup_and_delete(request).await)
    }

    /// Forbids all writes through bpf(2) for good, the agent's own too.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such map, `PERMISSION_DENIED` for one that the agent does not
    /// own, `FAILED_PRECONDITION` (`IN_USE`) while it is written or mapped for writing,
    /// `UNIMPLEMENTED` where its type cannot be frozen.
    pub async fn freeze(&self, map: &str) -> Result<(), Error> {
        let call = self.client.call("Freeze");
        let request = call.request(v1::FreezeRequest { map: map.to_owned() });
        call.answer(self.rpc().freeze(request).await)?;
        Ok(())
    }

    /// Gives an owned map a path below the agent's bpffs, where others on its host find it. The
    /// whole path. Goes with the map, and stays when the agent stops.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such map, `PERMISSION_DENIED` for one that the agent does not
    /// own, `INVALID_ARGUMENT` for a path that leads elsewhere, `ALREADY_EXISTS` if it is taken,
    /// `FAILED_PRECONDITION` where the agent has no bpffs, `RESOURCE_EXHAUSTED` at `max_pins`.
    pub async fn pin(&self, map: &str, path: &str) -> Result<String, Error> {
        let call = self.client.call("Pin");
        let request = call.request(v1::PinRequest { map: map.to_owned(), path: path.to_owned() });
        Ok(call.answer(self.rpc().pin(request).await)?.path)
    }

    /// Removes a pin of an owned map, by its path below the agent's bpffs.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such pin, `FAILED_PRECONDITION` (`NOT_OUR_PIN`) if it is of a map
    /// that the agent does not own.
    pub async fn unpin(&self, path: &str) -> Result<(), Error> {
        let call = self.client.call("Unpin");
        let request = call.request(v1::UnpinRequest { path: path.to_owned() });
        call.answer(self.rpc().unpin(request).await)?;
        Ok(())
    }

    /// Reads the whole map, or a part of it. Returns when the agent has begun.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such map, `UNIMPLEMENTED` if its entries cannot be listed,
    /// `INVALID_ARGUMENT` for a resume token of another map or life of the agent,
    /// `FAILED_PRECONDITION` for typed entries without a schema (`NO_SCHEMA`) and sums of another
    /// layout (`WIDE_SUM`), `RESOURCE_EXHAUSTED` at `max_streams`.
    pub async fn iterate(&self, map: &str, options: IterateOptions) -> Result<Entries, Error> {
        let call = self.client.call("Iterate");
        let request = v1::IterateRequest {
            resolve: self.resolve.clone(),
            resolve_declared: self.resolve_declared,
            ..options.into_request(map)
        };
        let (stream, first) = call.open(self.rpc().iterate(request)).await?;
        Entries::new(call, stream, &first)
    }

    /// Follows every counter that a selector matches. Returns when the agent has begun.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a selector, interval, field or label that cannot be, `UNIMPLEMENTED`
    /// for a map that is named and has no counters, `RESOURCE_EXHAUSTED` at `max_watchers` or
    /// without memory. A map that is not there is no error: [`v1::WatchHeader::unmatched`] tells
    /// it.
    pub async fn watch_counters(
        &self,
        selectors: Vec<v1::CounterSelector>,
        options: WatchOptions,
    ) -> Result<Watch, Error> {
        Watch::open(self.clone(), selectors, options).await
    }

    /// One stream of a watch, and its first message.
    pub(crate) async fn open_watch(
        &self,
        request: v1::WatchCountersRequest,
    ) -> Result<(Call, Streaming<v1::WatchCountersResponse>, v1::WatchCountersResponse), Error>
    {
        let call = self.client.call("WatchCounters");
        // A snapshot is read at once and has an end, like a dump.
        let mut rpc = match request.mode() {
            v1::WatchMode::Once => self.rpc(),
            v1::WatchMode::Stream | v1::WatchMode::Unspecified => {
                self.rpc_over(self.client.watch_channel())
            }
        };
        let (stream, first) = call.open(rpc.watch_counters(request)).await?;
        Ok((call, stream, first))
    }

    /// Follows the records that programs write into a ring buffer or a perf buffer. Returns when
    /// the agent has begun.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such map, `UNIMPLEMENTED` if it is no buffer,
    /// `FAILED_PRECONDITION` if it is not the agent's own or if filters have no type to go by,
    /// `INVALID_ARGUMENT` for a filter or queue that cannot be, `RESOURCE_EXHAUSTED` at
    /// `max_event_watchers`.
    pub async fn watch_events(&self, map: &str, options: EventOptions) -> Result<Events, Error> {
        let call = self.client.call("WatchEvents");
        let (stream, first) = call.open(self.rpc().watch_events(options.into_request(map))).await?;
        Events::new(call, stream, first)
    }

    pub(crate) fn rpc(&self) -> MapServiceClient<Channel> {
        self.rpc_over(self.client.channel())
    }

    fn rpc_over(&self, channel: Channel) -> MapServiceClient<Channel> {
        MapServiceClient::new(channel)
            .max_decoding_message_size(self.client.options().max_message_bytes)
    }
}
