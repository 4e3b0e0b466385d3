//! Bytes to JSON: a field at a time in memory, and a million entries through the command line
//! beside bpftool.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::v1;
use bpfgate_client::value::{Display, Encoding, Field, Kind, Plan, Schema, SchemaSource, Type};
use bpfgate_server::sys;

use crate::agent::{Agent, binary};
use crate::iterate;
use crate::report::{Goal, Report};
use crate::rounds::Rounds;

const MAP: &str = "dumped";
/// Entries decoded in a round.
const VALUES: usize = 100_000;
const ROUNDS: usize = 21;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let (flow, number) = (flow(), integer(8, false, Display::Plain));
    ensure!(flow.size == 72, "a flow has {} bytes", flow.size);
    report.add_median("decode_field", &decode(&flow)?, "ns", Goal::AtMost(10.0));
    report.add_median("decode_u64", &decode(&number)?, "ns", Goal::Beside("decode_field"));
    dump(report).await
}

/// Nanoseconds for each field, round by round.
fn decode(ty: &Type) -> Result<Vec<f64>> {
    let plan = Plan::compile(ty)?;
    let bytes = samples(plan.size());
    let mut out = Vec::new();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        out.clear();
        let begun = Instant::now();
        for value in bytes.chunks_exact(plan.size()) {
            plan.write_json(value, &mut out)?;
        }
        let taken = begun.elapsed();
        std::hint::black_box(&out);
        rounds.push(taken.as_secs_f64() * 1e9 / fields(&plan));
    }
    Ok(rounds)
}

#[allow(clippy::cast_precision_loss, reason = "some millions")]
fn fields(plan: &Plan) -> f64 {
    (VALUES * plan.leaves().len()) as f64
}

/// Words of all lengths, as counters have them: from none to 20 digits.
fn samples(size: usize) -> Vec<u8> {
    let word = |n: usize| {
        let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29) >> (n % 61)
    };
    (0..VALUES * size / 8).flat_map(|n| word(n).to_ne_bytes()).collect()
}

/// What a program keeps of a flow.
fn flow() -> Type {
    let (address, port) = (integer(4, true, Display::Ipv4), integer(2, true, Display::Plain));
    let number = |size| integer(size, false, Display::Plain);
    let parts = [
        ("source", address.clone()),
        ("destination", address),
        ("source_port", port.clone()),
        ("destination_port", port),
        ("protocol", number(1)),
        ("tcp_flags", number(1)),
        ("vlan", number(2)),
        ("received_packets", number(8)),
        ("received_bytes", number(8)),
        ("sent_packets", number(8)),
        ("sent_bytes", number(8)),
        ("first_ns", number(8)),
        ("last_ns", number(8)),
        ("interface", number(4)),
        ("mark", number(4)),
    ];
    let mut size = 0;
    let place = |(name, ty): (&str, Type)| {
        let bit_offset = size * 8;
        size += ty.size;
        Field { name: name.to_owned(), ty, bit_offset, bit_size: 0 }
    };
    let fields = parts.into_iter().map(place).collect();
    Type { name: "struct flow".to_owned(), size, kind: Kind::Record { is_union: false, fields } }
}

fn integer(size: u32, big_endian: bool, display: Display) -> Type {
    let kind = Kind::Integer { encoding: Encoding::Unsigned, big_endian, display };
    Type { name: String::new(), size, kind }
}

/// The same map by both tools, to a file each: writing it out is a part of it.
async fn dump(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    let number = integer(8, false, Display::Plain);
    let layout =
        Schema { key: Some(number.clone()), value: Some(number), source: SchemaSource::Declared };
    let spec = v1::MapSpec {
        r#type: v1::MapType::Hash.into(),
        key_size: 8,
        value_size: 8,
        max_entries: iterate::ENTRIES,
        ..v1::MapSpec::default()
    };
    let request = v1::CreateMapRequest {
        name: MAP.to_owned(),
        spec: Some(spec),
        layout: Some(layout.into()),
        ..v1::CreateMapRequest::default()
    };
    let id = agent.client.maps().create(request).await?.id;
    let raw = sys::map_get_fd_by_id(id, true).context("could not open the map")?;
    iterate::fill(&raw)?;

    let ours = async || {
        let mut command = Command::new(binary("bpfgate")?);
        command.args(["--endpoint", agent.endpoint(), "--output", "json", "map", "dump", MAP]);
        timed(&mut command)
    };
    let theirs = async || {
        let mut command = Command::new("bpftool");
        timed(command.args(["map", "dump", "-j", "id"]).arg(id.to_string()))
    };
    let rounds = Rounds::run(3, ours, theirs).await?;
    report.add_median("dump_json", &rounds.left, "s", Goal::Beside("bpftool_dump_json"));
    report.add_median("bpftool_dump_json", &rounds.right, "s", Goal::Beside("dump_json"));
    Ok(())
}

/// Seconds until the command has written everything.
fn timed(command: &mut Command) -> Result<f64> {
    let file: File = tempfile::tempfile()?;
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(file).status();
    let status = status.with_context(|| format!("could not start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(begun.elapsed().as_secs_f64())
}
