//! Places to attach programs to, in the few words that tests need.

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::perf_event_target::Sample;
use bpfgate_client::v1::{
    CgroupTarget, KprobeTarget, PerfEventTarget, RawTracepointTarget, SocketTarget, TcxTarget,
    TracepointTarget, UprobeTarget, XdpTarget, tcx_target, xdp_target,
};

/// An interface's received packets, taken from the stack rather than the driver.
pub fn xdp(interface: &str) -> Target {
    let mode = xdp_target::Mode::Generic.into();
    Target::Xdp(XdpTarget { interface: interface.to_owned(), mode })
}

/// An interface's packets, one way.
pub fn tcx(direction: tcx_target::Direction, interface: &str) -> Target {
    let (interface, direction) = (interface.to_owned(), direction.into());
    Target::Tcx(TcxTarget { interface, direction })
}

/// A packet socket on an interface.
pub fn socket(interface: &str) -> Target {
    Target::Socket(SocketTarget { interface: interface.to_owned() })
}

/// A tracepoint.
pub fn tracepoint(category: &str, name: &str) -> Target {
    Target::Tracepoint(TracepointTarget { category: category.to_owned(), name: name.to_owned() })
}

/// A raw tracepoint.
pub fn raw_tracepoint(name: &str) -> Target {
    Target::RawTracepoint(RawTracepointTarget { name: name.to_owned() })
}

/// A cgroup, by its directory.
pub fn cgroup(path: &str) -> Target {
    Target::Cgroup(CgroupTarget { path: path.to_owned() })
}

/// A kernel function.
pub fn kprobe(symbol: &str) -> Target {
    Target::Kprobe(KprobeTarget { symbol: symbol.to_owned(), offset: 0, r#return: false })
}

/// A function of the C library, in this process only.
pub fn uprobe(path: &str, symbol: &str) -> UprobeTarget {
    UprobeTarget {
        path: path.to_owned(),
        symbol: symbol.to_owned(),
        offset: 0,
        r#return: false,
        pid: Some(std::process::id()),
    }
}

/// A thousand samples a second of one CPU's clock.
pub fn cpu_clock(cpu: u32) -> PerfEventTarget {
    const PERF_TYPE_SOFTWARE: u32 = 1;
    const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
    PerfEventTarget {
        r#type: PERF_TYPE_SOFTWARE,
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample: Some(Sample::Frequency(1000)),
        cpu,
    }
}

/// The C library that this process runs on.
pub fn libc_path() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("what is mapped");
    let line = maps.lines().find(|line| line.contains("/libc.so.6")).expect("the C library");
    line[line.find('/').expect("a path")..].to_owned()
}
