//! One row for every RPC: what it may cost and how long it may take. A test holds it against the
//! services' own descriptors.

use std::collections::HashMap;
use std::sync::OnceLock;

/// How many messages go which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One, and one back. Counts against `max_requests`; the request has `request_seconds`, what is
    /// behind its end `answer_seconds`.
    Unary,
    /// Many, and one back. Counts against `max_streams`; the handler has the clock.
    ClientStream,
    /// One, and many back. Counts against `max_streams`; the request has `request_seconds`, an answer
    /// that nobody reads `stall_seconds`.
    ServerStream,
    /// Many each way. Counts against `max_streams`.
    Both,
}

/// How large a message of the request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Names, schemas, tokens: 2 MiB.
    Words,
    /// Keys and values, files: `max_message_bytes`.
    Data,
}

/// Where the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// At once: it is known to be short.
    Inline,
    /// At once where request and answer are small, else in the queue of long work.
    BySize,
    /// In the queue of long work.
    Queue,
    /// On a thread of its own, of which there are `max_loads`.
    Load,
    /// In a task that waits for news and holds no thread.
    News,
}

/// What an RPC may cost and how long it may take.
#[derive(Debug)]
pub struct Row {
    /// "/package.Service/Method"
    pub path: &'static str,
    /// How many messages go which way.
    pub shape: Shape,
    /// How large a message of the request may be.
    pub size: Size,
    /// Where the work is done.
    pub work: Work,
    /// Answered whenever the agent can answer: where the caller's share is used up, from a reserve.
    pub always: bool,
}

impl Row {
    /// Bytes of a message of the request.
    pub fn message_bytes(&self, most: u64) -> u64 {
        match self.size {
            Size::Words => most.min(2 << 20),
            Size::Data => most,
        }
    }
}

const fn row(path: &'static str, shape: Shape, size: Size, work: Work) -> Row {
    Row { path, shape, size, work, always: false }
}

const fn always(path: &'static str, shape: Shape) -> Row {
    Row { path, shape, size: Size::Words, work: Work::Inline, always: true }
}

/// Every RPC that the agent answers.
pub static ROWS: &[Row] = {
    use Shape::{Both, ClientStream, ServerStream, Unary};
    use Size::{Data, Words};
    use Work::{BySize, Inline, Load, News, Queue};
    &[
        row("/bpfgate.v1.MapService/CreateMap", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/ListMaps", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/GetMap", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/DeleteMap", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/Lookup", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/ReadValue", ServerStream, Data, Queue),
        row("/bpfgate.v1.MapService/Update", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/Delete", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/LookupAndDelete", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/Push", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/Pop", Unary, Words, BySize),
        row("/bpfgate.v1.MapService/Peek", Unary, Data, BySize),
        row("/bpfgate.v1.MapService/LookupBatch", Unary, Data, Queue),
        row("/bpfgate.v1.MapService/UpdateBatch", Unary, Data, Queue),
        row("/bpfgate.v1.MapService/DeleteBatch", Unary, Data, Queue),
        row("/bpfgate.v1.MapService/Freeze", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/Pin", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/Unpin", Unary, Words, Queue),
        row("/bpfgate.v1.MapService/Iterate", ServerStream, Words, Queue),
        row("/bpfgate.v1.MapService/Restore", ClientStream, Data, Queue),
        row("/bpfgate.v1.MapService/WatchCounters", ServerStream, Words, News),
        row("/bpfgate.v1.MapService/WatchEvents", ServerStream, Words, News),
        row("/bpfgate.v1.ProgramService/LoadObject", ClientStream, Data, Load),
        row("/bpfgate.v1.ProgramService/ReadVerifierLog", ServerStream, Words, Inline),
        row("/bpfgate.v1.ProgramService/ListObjects", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/GetObject", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/UnloadObject", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/Attach", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/Detach", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/ListLinks", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/ListPrograms", Unary, Words, Queue),
        row("/bpfgate.v1.ProgramService/GetProgramStats", Unary, Words, Queue),
        row("/bpfgate.v1.AgentService/GetAgent", Unary, Words, Inline),
        row("/bpfgate.v1.AgentService/WhoAmI", Unary, Words, Queue),
        always("/grpc.health.v1.Health/Check", Unary),
        row("/grpc.health.v1.Health/Watch", ServerStream, Words, News),
        row("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Both, Words, News),
        row("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Both, Words, News),
    ]
};

/// What nothing here answers, and tonic refuses.
static UNKNOWN: Row = row("", Shape::Unary, Size::Words, Work::Inline);

/// The row of a request's path.
pub fn find(path: &str) -> &'static Row {
    static BY_PATH: OnceLock<HashMap<&'static str, &'static Row>> = OnceLock::new();
    let by_path = BY_PATH.get_or_init(|| ROWS.iter().map(|row| (row.path, row)).collect());
    by_path.get(path).copied().unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn described(set: &[u8], into: &mut BTreeMap<String, Shape>) {
        let set = FileDescriptorSet::decode(set).unwrap();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let shape = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => Shape::Unary,
                        (true, false) => Shape::ClientStream,
                        (false, true) => Shape::ServerStream,
                        (true, true) => Shape::Both,
                    };
                    into.insert(path, shape);
                }
            }
        }
    }

    #[test]
    fn every_rpc_has_its_row() {
        let mut services = BTreeMap::new();
        described(bpfgate_proto::FILE_DESCRIPTOR_SET, &mut services);
        described(tonic_health::pb::FILE_DESCRIPTOR_SET, &mut services);
        described(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, &mut services);
        described(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET, &mut services);
        let rows: BTreeMap<_, _> =
            ROWS.iter().map(|row| (row.path.to_owned(), row.shape)).collect();
        assert_eq!(rows.len(), ROWS.len(), "one row each");
        assert_eq!(rows, services);
        assert_eq!(find("/bpfgate.v1.MapService/Lookup").work, Work::BySize);
        assert_eq!(find("/nothing").path, "");
    }
}
