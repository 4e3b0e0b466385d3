//! Messages of ProgramService to the core's types and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::{MapRef, ObjectName};
use bpfgate_proto::v1 as pb;
use pb::attach_target::Target as Wire;
use tonic::Status;

use super::convert::{labels_to, timestamp};
use super::status::invalid;
use crate::broker::{Direction, Rate, Target, XdpMode, program_type_name};
use crate::core::{Error, HandedOver, Holdings, Link, Object, Program, SharedMap};
use crate::elf::GlobalValue;
use crate::sys::ProgramStats;

/// An object's name as a request has it.
pub(super) fn object_name(text: &str) -> Result<ObjectName, Status> {
    Ok(text.parse::<ObjectName>().map_err(Error::from)?)
}

pub(super) fn global(name: String, wire: pb::GlobalValue) -> Result<(String, GlobalValue), Status> {
    use pb::global_value::Value;
    let value = match wire.value {
        Some(Value::Raw(bytes)) => GlobalValue::Raw(bytes.to_vec()),
        Some(Value::Typed(value)) => match value.to_json() {
            Ok(json) => GlobalValue::Typed(json.to_string()),
            Err(problem) => return Err(invalid("globals", format!("{name:?}: {problem}"))),
        },
        None => return Err(invalid("globals", format!("{name:?} has no value"))),
    };
    Ok((name, value))
}

pub(super) fn shared_maps(
    wire: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, MapRef>, Status> {
    wire.into_iter()
        .map(|(member, reference)| Ok((member, reference.parse::<MapRef>().map_err(Error::from)?)))
        .collect()
}

pub(super) fn object_message(object: &Object) -> pb::Object {
    let Object { name, builtin, sha256, programs, labels, loaded_at, .. } = object;
    let Holdings { maps, shared: shared_maps } = &*object.holdings();
    let shared =
        |SharedMap { member, map }: &SharedMap| (member.member().to_owned(), map.text().to_owned());
    pb::Object {
        name: name.to_string(),
        builtin: builtin.clone().unwrap_or_default(),
        sha256: sha256.to_vec().into(),
        programs: programs.iter().map(|program| program_message(program)).collect(),
        maps: maps.iter().map(ToString::to_string).collect(),
        shared_maps: shared_maps.iter().map(shared).collect(),
        labels: labels_to(labels),
        loaded_at: Some(timestamp(*loaded_at)),
    }
}

pub(super) fn handed_over(handed: HandedOver) -> pb::HandedOverMap {
    let HandedOver { from, to } = handed;
    pb::HandedOverMap { from: from.to_string(), to: to.to_string() }
}

pub(super) fn program_message(program: &Program) -> pb::Program {
    let loaded = &program.loaded;
    pb::Program {
        name: program.name.to_string(),
        id: loaded.info.id,
        tag: loaded.info.tag.to_vec().into(),
        r#type: program_type_name(loaded.kind.prog_type).to_owned(),
        section: loaded.section.clone(),
        instructions: loaded.info.instructions,
    }
}

/// `lease`: for how long the agent keeps the statistics on.
pub(super) fn stats_message(
    programs: &[(Arc<Program>, ProgramStats)],
    lease: Option<Duration>,
    sysctl: bool,
) -> pb::GetProgramStatsResponse {
    let message = |(program, stats): &(Arc<Program>, ProgramStats)| {
        let ProgramStats { run_count, run_time_ns, recursion_misses } = *stats;
        pb::ProgramStats {
            program: program.name.to_string(),
            id: program.loaded.info.id,
            r#type: program_type_name(program.loaded.kind.prog_type).to_owned(),
            run_count,
            run_time_ns,
            recursion_misses,
        }
    };
    pb::GetProgramStatsResponse {
        programs: programs.iter().map(message).collect(),
        read_at: Some(timestamp(SystemTime::now())),
        enabled: lease.is_some() || sysctl,
        lease: lease.and_then(|lease| lease.try_into().ok()),
    }
}

pub(super) fn link_message(link: &Link) -> pb::Link {
    let Link { id, program, target, attachment, attached_at } = link;
    pb::Link {
        id: *id,
        program: program.to_string(),
        target: Some(pb::AttachTarget { target: Some(target_to(target.clone())) }),
        kernel_id: attachment.kernel_id.unwrap_or(0),
        attached_at: Some(timestamp(*attached_at)),
    }
}

/// A target from a request.
pub(super) fn target_from(wire: pb::AttachTarget) -> Result<Target, Status> {
    let Some(target) = wire.target else {
        return Err(invalid("target", "is empty: name one, or leave target out"));
    };
    Ok(match target {
        Wire::Xdp(pb::XdpTarget { interface, mode }) => {
            use pb::xdp_target::Mode;
            let mode = match Mode::try_from(mode) {
                Ok(Mode::Unspecified) => XdpMode::Any,
                Ok(Mode::Native) => XdpMode::Native,
                Ok(Mode::Generic) => XdpMode::Generic,
                Ok(Mode::Offload) => XdpMode::Offload,
                Err(_) => return Err(invalid("target.xdp.mode", format!("{mode} is no mode"))),
            };
            Target::Xdp { interface, mode }
        }
        Wire::Tcx(pb::TcxTarget { interface, direction }) => {
            use pb::tcx_target::Direction as Side;
            let direction = match Side::try_from(direction) {
                Ok(Side::Ingress) => Direction::Ingress,
                Ok(Side::Egress) => Direction::Egress,
                Ok(Side::Unspecified) | Err(_) => {
                    return Err(invalid("target.tcx.direction", "say INGRESS or EGRESS"));
                }
            };
            Target::Tcx { interface, direction }
        }
        Wire::Socket(pb::SocketTarget { interface }) => Target::Socket { interface },
        Wire::Tracepoint(pb::TracepointTarget { category, name }) => {
            Target::Tracepoint { category, name }
        }
        Wire::RawTracepoint(pb::RawTracepointTarget { name }) => Target::RawTracepoint { name },
        Wire::Cgroup(pb::CgroupTarget { path }) => Target::Cgroup { path },
        Wire::Kprobe(pb::KprobeTarget { symbol, offset, r#return }) => {
            Target::Kprobe { symbol, offset, on_return: r#return }
        }
        Wire::Uprobe(pb::UprobeTarget { path, symbol, offset, r#return, pid }) => {
            Target::Uprobe { path, symbol, offset, on_return: r#return, pid }
        }
        Wire::Tracing(pb::TracingTarget {}) => Target::Tracing,
        Wire::PerfEvent(pb::PerfEventTarget { r#type, config, sample, cpu }) => {
            use pb::perf_event_target::Sample;
            let rate = match sample {
                Some(Sample::Period(period)) if period > 0 => Rate::Period(period),
                Some(Sample::Frequency(hertz)) if hertz > 0 => Rate::Frequency(hertz),
                _ => {
                    let field = "target.perf_event.sample";
                    return Err(invalid(field, "give a period or a frequency above 0"));
                }
            };
            Target::PerfEvent { kind: r#type, config, rate, cpu }
        }
    })
}

fn target_to(target: Target) -> Wire {
    match target {
        Target::Xdp { interface, mode } => {
            use pb::xdp_target::Mode;
            let mode = match mode {
                XdpMode::Any => Mode::Unspecified,
                XdpMode::Native => Mode::Native,
                XdpMode::Generic => Mode::Generic,
                XdpMode::Offload => Mode::Offload,
            };
            Wire::Xdp(pb::XdpTarget { interface, mode: mode.into() })
        }
        Target::Tcx { interface, direction } => {
            use pb::tcx_target::Direction as Side;
            let direction = match direction {
                Direction::Ingress => Side::Ingress,
                Direction::Egress => Side::Egress,
            };
            Wire::Tcx(pb::TcxTarget { interface, direction: direction.into() })
        }
        Target::Socket { interface } => Wire::Socket(pb::SocketTarget { interface }),
        Target::Tracepoint { category, name } => {
            Wire::Tracepoint(pb::TracepointTarget { category, name })
        }
        Target::RawTracepoint { name } => Wire::RawTracepoint(pb::RawTracepointTarget { name }),
        Target::Cgroup { path } => Wire::Cgroup(pb::CgroupTarget { path }),
        Target::Kprobe { symbol, offset, on_return } => {
            Wire::Kprobe(pb::KprobeTarget { symbol, offset, r#return: on_return })
        }
        Target::Uprobe { path, symbol, offset, on_return, pid } => {
            Wire::Uprobe(pb::UprobeTarget { path, symbol, offset, r#return: on_return, pid })
        }
        Target::Tracing => Wire::Tracing(pb::TracingTarget {}),
        Target::PerfEvent { kind, config, rate, cpu } => {
            use pb::perf_event_target::Sample;
            let sample = Some(match rate {
                Rate::Period(period) => Sample::Period(period),
                Rate::Frequency(hertz) => Sample::Frequency(hertz),
            });
            Wire::PerfEvent(pb::PerfEventTarget { r#type: kind, config, sample, cpu })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_the_round_trip() {
        let interface = || "eth0".to_owned();
        let name = || "x".to_owned();
        for target in [
            Target::Xdp { interface: interface(), mode: XdpMode::Generic },
            Target::Tcx { interface: interface(), direction: Direction::Egress },
            Target::Socket { interface: interface() },
            Target::Tracepoint { category: name(), name: name() },
            Target::RawTracepoint { name: name() },
            Target::Cgroup { path: "/sys/fs/cgroup".into() },
            Target::Kprobe { symbol: name(), offset: 4, on_return: true },
            Target::Uprobe {
                path: "/bin/true".into(),
                symbol: "main".into(),
                offset: 1,
                on_return: false,
                pid: Some(7),
            },
            Target::Tracing,
            Target::PerfEvent { kind: 1, config: 2, rate: Rate::Frequency(99), cpu: 1 },
        ] {
            let wire = pb::AttachTarget { target: Some(target_to(target.clone())) };
            assert_eq!(target_from(wire).unwrap(), target);
        }
    }
}
