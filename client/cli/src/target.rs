//! Where to attach: flags in, words out.

#![allow(clippy::doc_markdown, reason = "the comments on flags are help texts")]

use std::path::PathBuf;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{
    CgroupTarget, KprobeTarget, PerfEventTarget, RawTracepointTarget, SocketTarget, TcxTarget,
    TracepointTarget, TracingTarget, UprobeTarget, XdpTarget, tcx_target, xdp_target,
};
use clap::{Args, ValueEnum};

use crate::values::hex_or_decimal;

/// At most one target; without one, what the program's section says.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    target: TargetArg,
    /// With --xdp: where the packets are taken
    #[arg(long, value_enum, value_name = "MODE", requires = "xdp")]
    xdp_mode: Option<XdpMode>,
    /// With --uprobe or --uretprobe: only this process
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct TargetArg {
    /// Packets that an interface receives, before the stack
    #[arg(long, value_name = "IF")]
    xdp: Option<String>,
    /// Packets of an interface: ingress:IF or egress:IF
    #[arg(long, value_name = "DIRECTION:IF", value_parser = tcx)]
    tcx: Option<TcxTarget>,
    /// A socket filter on an interface; it sees packets both ways and keeps none
    #[arg(long, value_name = "IF")]
    socket: Option<String>,
    /// As listed below /sys/kernel/tracing/events: sched:sched_process_exec
    #[arg(long, value_name = "CATEGORY:NAME", value_parser = tracepoint)]
    tracepoint: Option<TracepointTarget>,
    /// sys_enter, sched_switch, …
    #[arg(long, value_name = "NAME")]
    raw_tracepoint: Option<String>,
    /// A directory in a cgroup2 mount
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// A kernel function, or a place in it
    #[arg(long, value_name = "SYMBOL[+OFFSET]", value_parser = symbol)]
    kprobe: Option<Place>,
    /// The return of a kernel function
    #[arg(long, value_name = "SYMBOL", value_parser = symbol)]
    kretprobe: Option<Place>,
    /// A function in an ELF file, or a place in it
    #[arg(long, value_name = "PATH:SYMBOL[+OFFSET]", value_parser = file_symbol)]
    uprobe: Option<FilePlace>,
    /// The return of a function in an ELF file
    #[arg(long, value_name = "PATH:SYMBOL", value_parser = file_symbol)]
    uretprobe: Option<FilePlace>,
    /// What the section of a fentry, fexit, lsm or tp_btf program names
    #[arg(long)]
    tracing: bool,
    /// What the program's section says, as in libbpf; the default
    #[arg(long)]
    auto: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum XdpMode {
    Native,
    Generic,
    Offload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    symbol: String,
    offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FilePlace {
    path: String,
    place: Place,
}

impl TargetArgs {
    /// `None` for what the section says.
    pub(crate) fn target(self) -> Option<Target> {
        let Self { target, xdp_mode, pid } = self;
        let TargetArg {
            xdp,
            tcx,
            socket,
            tracepoint,
            raw_tracepoint,
            cgroup,
            kprobe,
            kretprobe,
            uprobe,
            uretprobe,
            tracing,
            auto: _,
        } = target;
        let on_kernel = |Place { symbol, offset }, r#return| {
            Target::Kprobe(KprobeTarget { symbol, offset, r#return })
        };
        let on_file = |FilePlace { path, place: Place { symbol, offset } }, r#return| {
            Target::Uprobe(UprobeTarget { path, symbol, offset, r#return, pid })
        };
        let mode = xdp_mode.map_or(xdp_target::Mode::Unspecified, Into::into).into();
        // The group lets one of them through at most.
        xdp.map(|interface| Target::Xdp(XdpTarget { interface, mode }))
            .or(tcx.map(Target::Tcx))
            .or(socket.map(|interface| Target::Socket(SocketTarget { interface })))
            .or(tracepoint.map(Target::Tracepoint))
            .or(raw_tracepoint.map(|name| Target::RawTracepoint(RawTracepointTarget { name })))
            .or(cgroup.map(|path| {
                Target::Cgroup(CgroupTarget { path: path.to_string_lossy().into_owned() })
            }))
            .or(kprobe.map(|place| on_kernel(place, false)))
            .or(kretprobe.map(|place| on_kernel(place, true)))
            .or(uprobe.map(|place| on_file(place, false)))
            .or(uretprobe.map(|place| on_file(place, true)))
            .or(tracing.then_some(Target::Tracing(TracingTarget {})))
    }
}

impl From<XdpMode> for xdp_target::Mode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
            XdpMode::Offload => Self::Offload,
        }
    }
}

fn tcx(text: &str) -> Result<TcxTarget, String> {
    let wrong = "write ingress:IF or egress:IF";
    let (direction, interface) = text.split_once(':').ok_or(wrong)?;
    let direction = match direction {
        "ingress" => tcx_target::Direction::Ingress,
        "egress" => tcx_target::Direction::Egress,
        _ => return Err(wrong.to_owned()),
    };
    Ok(TcxTarget { interface: interface.to_owned(), direction: direction.into() })
}

fn tracepoint(text: &str) -> Result<TracepointTarget, String> {
    let (category, name) = text.split_once([':', '/']).ok_or("write CATEGORY:NAME")?;
    Ok(TracepointTarget { category: category.to_owned(), name: name.to_owned() })
}

fn symbol(text: &str) -> Result<Place, String> {
    let (symbol, offset) = match text.split_once('+') {
        Some((symbol, offset)) => (symbol, hex_or_decimal(offset)?),
        None => (text, 0),
    };
    if symbol.is_empty() {
        return Err("the symbol is missing".to_owned());
    }
    Ok(Place { symbol: symbol.to_owned(), offset })
}

/// The last `:` parts them: a path may have one, a symbol has none.
fn file_symbol(text: &str) -> Result<FilePlace, String> {
    let (path, place) = text.rsplit_once(':').ok_or("write PATH:SYMBOL or PATH:+OFFSET")?;
    let place = match place.strip_prefix('+') {
        // From the start of the file.
        Some(offset) => Place { symbol: String::new(), offset: hex_or_decimal(offset)? },
        None => symbol(place)?,
    };
    Ok(FilePlace { path: path.to_owned(), place })
}

/// As the flags have it: `tcx ingress:eth0`.
pub(crate) fn describe(target: Option<&Target>) -> String {
    let Some(target) = target else { return "-".to_owned() };
    match target {
        Target::Xdp(XdpTarget { interface, mode }) => match xdp_target::Mode::try_from(*mode) {
            Ok(xdp_target::Mode::Native) => format!("xdp {interface} (native)"),
            Ok(xdp_target::Mode::Generic) => format!("xdp {interface} (generic)"),
            Ok(xdp_target::Mode::Offload) => format!("xdp {interface} (offload)"),
            Ok(xdp_target::Mode::Unspecified) | Err(_) => format!("xdp {interface}"),
        },
        Target::Tcx(tcx) => match tcx.direction() {
            tcx_target::Direction::Ingress => format!("tcx ingress:{}", tcx.interface),
            tcx_target::Direction::Egress => format!("tcx egress:{}", tcx.interface),
            tcx_target::Direction::Unspecified => format!("tcx {}", tcx.interface),
        },
        Target::Socket(SocketTarget { interface }) => format!("socket {interface}"),
        Target::Tracepoint(TracepointTarget { category, name }) => {
            format!("tracepoint {category}:{name}")
        }
        Target::RawTracepoint(RawTracepointTarget { name }) => format!("raw-tracepoint {name}"),
        Target::Cgroup(CgroupTarget { path }) => format!("cgroup {path}"),
        Target::Kprobe(KprobeTarget { symbol, offset, r#return }) => {
            let kind = if *r#return { "kretprobe" } else { "kprobe" };
            format!("{kind} {symbol}{}", plus(*offset))
        }
        Target::Uprobe(UprobeTarget { path, symbol, offset, r#return, pid }) => {
            let kind = if *r#return { "uretprobe" } else { "uprobe" };
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("{kind} {path}:{symbol}{}{pid}", plus(*offset))
        }
        Target::Tracing(TracingTarget {}) => "tracing".to_owned(),
        Target::PerfEvent(PerfEventTarget { r#type, config, cpu, .. }) => {
            format!("perf-event {type}:{config} (cpu {cpu})")
        }
    }
}

fn plus(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!("+{offset:#x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_flags_take_is_what_lists_show() {
        let tcx = tcx("ingress:eth0").unwrap();
        assert_eq!(describe(Some(&Target::Tcx(tcx))), "tcx ingress:eth0");
        let tracepoint = tracepoint("sched:sched_switch").unwrap();
        assert_eq!(
            describe(Some(&Target::Tracepoint(tracepoint))),
            "tracepoint sched:sched_switch"
        );
    }

    #[test]
    fn places_have_symbols_and_offsets() {
        assert_eq!(symbol("do_exit"), Ok(Place { symbol: "do_exit".into(), offset: 0 }));
        assert_eq!(symbol("do_exit+0x10"), Ok(Place { symbol: "do_exit".into(), offset: 16 }));
        let place = file_symbol("/a:b/c:main+4").unwrap();
        assert_eq!((place.path.as_str(), place.place.offset), ("/a:b/c", 4));
        assert_eq!(
            file_symbol("/x:+0x20").unwrap().place,
            Place { symbol: String::new(), offset: 32 }
        );
        for wrong in ["", "+4", "f+x"] {
            assert!(symbol(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["/x", "/x:"] {
            assert!(file_symbol(wrong).is_err(), "{wrong:?}");
        }
        assert!(super::tcx("eth0").is_err() && super::tcx("up:eth0").is_err());
    }
}
