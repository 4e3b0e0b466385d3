//! The table of section names: which program type, attach type and target each stands for.

use aya_obj::generated::{bpf_attach_type as attach, bpf_prog_type as prog};

/// `enum bpf_attach_type` of kernels newer than the bindings.
const BPF_TRACE_KPROBE_SESSION: u32 = 56;
const BPF_TRACE_UPROBE_SESSION: u32 = 57;
/// The attach type of programs that have none.
const ANY: u32 = 0;

/// What may follow the name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// Anything after a slash, and it means nothing.
    Ignored,
    /// A slash and a target, or nothing.
    Target(Target),
}

/// How to read the target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Tracepoint,
    RawTracepoint,
    Kprobe {
        on_return: bool,
    },
    Ksyscall {
        on_return: bool,
    },
    Uprobe {
        on_return: bool,
    },
    /// A pattern for many functions: attaching is the caller's matter.
    Multi,
    /// A function in the kernel's BTF, with this before its name.
    Function(&'static str),
    /// A typedef there, with this before its name.
    Typedef(&'static str),
    Iter,
    Refused(&'static str),
}

/// One name.
#[derive(Clone, Copy)]
pub(super) struct Def {
    pub(super) name: &'static str,
    pub(super) rest: Rest,
    pub(super) prog_type: prog,
    pub(super) attach_type: u32,
    pub(super) sleepable: bool,
}

const fn def(name: &'static str, rest: Rest, prog_type: prog, attach_type: u32) -> Def {
    Def { name, rest, prog_type, attach_type, sleepable: false }
}

const fn sleeps(def: Def) -> Def {
    Def { sleepable: true, ..def }
}

/// One whose name says it all.
const fn exact(name: &'static str, prog_type: prog, attach_type: attach) -> Def {
    def(name, Rest::Nothing, prog_type, attach_type as u32)
}

/// One that may carry any text after a slash.
const fn loose(name: &'static str, prog_type: prog, attach_type: u32) -> Def {
    def(name, Rest::Ignored, prog_type, attach_type)
}

const fn probe(name: &'static str, target: Target) -> Def {
    def(name, Rest::Target(target), prog::BPF_PROG_TYPE_KPROBE, ANY)
}

const fn multi(name: &'static str, attach_type: u32) -> Def {
    def(name, Rest::Target(Target::Multi), prog::BPF_PROG_TYPE_KPROBE, attach_type)
}

const fn tracing(name: &'static str, attach_type: attach) -> Def {
    let rest = Rest::Target(Target::Function(""));
    def(name, rest, prog::BPF_PROG_TYPE_TRACING, attach_type as u32)
}

const fn lsm(name: &'static str, attach_type: attach) -> Def {
    let rest = Rest::Target(Target::Function("bpf_lsm_"));
    def(name, rest, prog::BPF_PROG_TYPE_LSM, attach_type as u32)
}

const fn iter(name: &'static str) -> Def {
    let rest = Rest::Target(Target::Iter);
    def(name, rest, prog::BPF_PROG_TYPE_TRACING, attach::BPF_TRACE_ITER as u32)
}

const fn raw_tracepoint(name: &'static str, prog_type: prog) -> Def {
    def(name, Rest::Target(Target::RawTracepoint), prog_type, ANY)
}

const fn tracepoint(name: &'static str) -> Def {
    def(name, Rest::Target(Target::Tracepoint), prog::BPF_PROG_TYPE_TRACEPOINT, ANY)
}

const fn refused(name: &'static str, why: &'static str) -> Def {
    def(name, Rest::Target(Target::Refused(why)), prog::BPF_PROG_TYPE_UNSPEC, ANY)
}

const USDT: &str = "needs tables that libbpf fills in the attaching process";
const FREPLACE: &str = "replaces a function of another program, which its name cannot say";
const STRUCT_OPS: &str = "needs kernel structures that libbpf builds in the loading process";

/// Names that libbpf had before 1.0, alone or before a slash, with today's.
pub(super) static OLD_NAMES: &[(&str, &str)] =
    &[("xdp_devmap", "xdp/devmap"), ("xdp_cpumap", "xdp/cpumap")];

/// The first that fits counts, so `xdp/devmap` stands before `xdp`.
#[rustfmt::skip]
pub(super) static DEFS: &[Def] = &[
    loose("socket", prog::BPF_PROG_TYPE_SOCKET_FILTER, ANY),
    exact("sk_reuseport/migrate", prog::BPF_PROG_TYPE_SK_REUSEPORT, attach::BPF_SK_REUSEPORT_SELECT_OR_MIGRATE),
    exact("sk_reuseport", prog::BPF_PROG_TYPE_SK_REUSEPORT, attach::BPF_SK_REUSEPORT_SELECT),
    probe("kprobe", Target::Kprobe { on_return: false }),
    probe("kretprobe", Target::Kprobe { on_return: true }),
    probe("uprobe", Target::Uprobe { on_return: false }),
    probe("uretprobe", Target::Uprobe { on_return: true }),
    sleeps(probe("uprobe.s", Target::Uprobe { on_return: false })),
    sleeps(probe("uretprobe.s", Target::Uprobe { on_return: true })),
    multi("kprobe.multi", attach::BPF_TRACE_KPROBE_MULTI as u32),
    multi("kretprobe.multi", attach::BPF_TRACE_KPROBE_MULTI as u32),
    multi("kprobe.session", BPF_TRACE_KPROBE_SESSION),
    multi("uprobe.multi", attach::BPF_TRACE_UPROBE_MULTI as u32),
    multi("uretprobe.multi", attach::BPF_TRACE_UPROBE_MULTI as u32),
    multi("uprobe.session", BPF_TRACE_UPROBE_SESSION),
    sleeps(multi("uprobe.multi.s", attach::BPF_TRACE_UPROBE_MULTI as u32)),
    sleeps(multi("uretprobe.multi.s", attach::BPF_TRACE_UPROBE_MULTI as u32)),
    sleeps(multi("uprobe.session.s", BPF_TRACE_UPROBE_SESSION)),
    probe("ksyscall", Target::Ksyscall { on_return: false }),
    probe("kretsyscall", Target::Ksyscall { on_return: true }),
    refused("usdt", USDT),
    refused("usdt.s", USDT),
    exact("tc/ingress", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_TCX_INGRESS),
    exact("tc/egress", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_TCX_EGRESS),
    exact("tcx/ingress", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_TCX_INGRESS),
    exact("tcx/egress", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_TCX_EGRESS),
    loose("tc", prog::BPF_PROG_TYPE_SCHED_CLS, ANY),
    loose("classifier", prog::BPF_PROG_TYPE_SCHED_CLS, ANY),
    loose("action", prog::BPF_PROG_TYPE_SCHED_ACT, ANY),
    exact("netkit/primary", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_NETKIT_PRIMARY),
    exact("netkit/peer", prog::BPF_PROG_TYPE_SCHED_CLS, attach::BPF_NETKIT_PEER),
    tracepoint("tracepoint"),
    tracepoint("tp"),
    raw_tracepoint("raw_tracepoint", prog::BPF_PROG_TYPE_RAW_TRACEPOINT),
    raw_tracepoint("raw_tp", prog::BPF_PROG_TYPE_RAW_TRACEPOINT),
    raw_tracepoint("raw_tracepoint.w", prog::BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE),
    raw_tracepoint("raw_tp.w", prog::BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE),
    def("tp_btf", Rest::Target(Target::Typedef("btf_trace_")), prog::BPF_PROG_TYPE_TRACING, attach::BPF_TRACE_RAW_TP as u32),
    tracing("fentry", attach::BPF_TRACE_FENTRY),
    tracing("fexit", attach::BPF_TRACE_FEXIT),
    tracing("fmod_ret", attach::BPF_MODIFY_RETURN),
    sleeps(tracing("fentry.s", attach::BPF_TRACE_FENTRY)),
    sleeps(tracing("fexit.s", attach::BPF_TRACE_FEXIT)),
    sleeps(tracing("fmod_ret.s", attach::BPF_MODIFY_RETURN)),
    refused("freplace", FREPLACE),
    lsm("lsm", attach::BPF_LSM_MAC),
    sleeps(lsm("lsm.s", attach::BPF_LSM_MAC)),
    lsm("lsm_cgroup", attach::BPF_LSM_CGROUP),
    iter("iter"),
    sleeps(iter("iter.s")),
    sleeps(loose("syscall", prog::BPF_PROG_TYPE_SYSCALL, ANY)),
    exact("xdp.frags/devmap", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP_DEVMAP),
    exact("xdp/devmap", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP_DEVMAP),
    exact("xdp.frags/cpumap", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP_CPUMAP),
    exact("xdp/cpumap", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP_CPUMAP),
    loose("xdp.frags", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP as u32),
    loose("xdp", prog::BPF_PROG_TYPE_XDP, attach::BPF_XDP as u32),
    loose("perf_event", prog::BPF_PROG_TYPE_PERF_EVENT, ANY),
    loose("lwt_in", prog::BPF_PROG_TYPE_LWT_IN, ANY),
    loose("lwt_out", prog::BPF_PROG_TYPE_LWT_OUT, ANY),
    loose("lwt_xmit", prog::BPF_PROG_TYPE_LWT_XMIT, ANY),
    loose("lwt_seg6local", prog::BPF_PROG_TYPE_LWT_SEG6LOCAL, ANY),
    loose("sockops", prog::BPF_PROG_TYPE_SOCK_OPS, attach::BPF_CGROUP_SOCK_OPS as u32),
    exact("sk_skb/stream_parser", prog::BPF_PROG_TYPE_SK_SKB, attach::BPF_SK_SKB_STREAM_PARSER),
    exact("sk_skb/stream_verdict", prog::BPF_PROG_TYPE_SK_SKB, attach::BPF_SK_SKB_STREAM_VERDICT),
    exact("sk_skb/verdict", prog::BPF_PROG_TYPE_SK_SKB, attach::BPF_SK_SKB_VERDICT),
    loose("sk_skb", prog::BPF_PROG_TYPE_SK_SKB, ANY),
    loose("sk_msg", prog::BPF_PROG_TYPE_SK_MSG, attach::BPF_SK_MSG_VERDICT as u32),
    loose("lirc_mode2", prog::BPF_PROG_TYPE_LIRC_MODE2, attach::BPF_LIRC_MODE2 as u32),
    loose("flow_dissector", prog::BPF_PROG_TYPE_FLOW_DISSECTOR, attach::BPF_FLOW_DISSECTOR as u32),
    exact("cgroup_skb/ingress", prog::BPF_PROG_TYPE_CGROUP_SKB, attach::BPF_CGROUP_INET_INGRESS),
    exact("cgroup_skb/egress", prog::BPF_PROG_TYPE_CGROUP_SKB, attach::BPF_CGROUP_INET_EGRESS),
    def("cgroup/skb", Rest::Nothing, prog::BPF_PROG_TYPE_CGROUP_SKB, ANY),
    exact("cgroup/sock_create", prog::BPF_PROG_TYPE_CGROUP_SOCK, attach::BPF_CGROUP_INET_SOCK_CREATE),
    exact("cgroup/sock_release", prog::BPF_PROG_TYPE_CGROUP_SOCK, attach::BPF_CGROUP_INET_SOCK_RELEASE),
    exact("cgroup/sock", prog::BPF_PROG_TYPE_CGROUP_SOCK, attach::BPF_CGROUP_INET_SOCK_CREATE),
    exact("cgroup/post_bind4", prog::BPF_PROG_TYPE_CGROUP_SOCK, attach::BPF_CGROUP_INET4_POST_BIND),
    exact("cgroup/post_bind6", prog::BPF_PROG_TYPE_CGROUP_SOCK, attach::BPF_CGROUP_INET6_POST_BIND),
    exact("cgroup/bind4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET4_BIND),
    exact("cgroup/bind6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET6_BIND),
    exact("cgroup/connect4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET4_CONNECT),
    exact("cgroup/connect6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET6_CONNECT),
    exact("cgroup/connect_unix", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UNIX_CONNECT),
    exact("cgroup/sendmsg4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UDP4_SENDMSG),
    exact("cgroup/sendmsg6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UDP6_SENDMSG),
    exact("cgroup/sendmsg_unix", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UNIX_SENDMSG),
    exact("cgroup/recvmsg4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UDP4_RECVMSG),
    exact("cgroup/recvmsg6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UDP6_RECVMSG),
    exact("cgroup/recvmsg_unix", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UNIX_RECVMSG),
    exact("cgroup/getpeername4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET4_GETPEERNAME),
    exact("cgroup/getpeername6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET6_GETPEERNAME),
    exact("cgroup/getpeername_unix", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UNIX_GETPEERNAME),
    exact("cgroup/getsockname4", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET4_GETSOCKNAME),
    exact("cgroup/getsockname6", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_INET6_GETSOCKNAME),
    exact("cgroup/getsockname_unix", prog::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach::BPF_CGROUP_UNIX_GETSOCKNAME),
    exact("cgroup/sysctl", prog::BPF_PROG_TYPE_CGROUP_SYSCTL, attach::BPF_CGROUP_SYSCTL),
    exact("cgroup/getsockopt", prog::BPF_PROG_TYPE_CGROUP_SOCKOPT, attach::BPF_CGROUP_GETSOCKOPT),
    exact("cgroup/setsockopt", prog::BPF_PROG_TYPE_CGROUP_SOCKOPT, attach::BPF_CGROUP_SETSOCKOPT),
    exact("cgroup/dev", prog::BPF_PROG_TYPE_CGROUP_DEVICE, attach::BPF_CGROUP_DEVICE),
    refused("struct_ops", STRUCT_OPS),
    refused("struct_ops.s", STRUCT_OPS),
    exact("sk_lookup", prog::BPF_PROG_TYPE_SK_LOOKUP, attach::BPF_SK_LOOKUP),
    exact("netfilter", prog::BPF_PROG_TYPE_NETFILTER, attach::BPF_NETFILTER),
];
