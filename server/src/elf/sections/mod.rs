//! What a program section's name says about its programs: libbpf's `SEC("…")` words.
//!
//! The meaning follows libbpf 1.5; like libbpf before 1.0, names that say nothing about a target
//! may carry any text after a slash (`xdp/filter`, `socket/http`), or a number or `_` and more, as
//! the kernel's samples had them (`socket1`, `xdp_prog`).

mod table;

use aya_obj::generated::bpf_attach_type as attach;

use self::table::{DEFS, Def, OLD_NAMES, Rest, Target};
use super::plan::{AutoAttach, Direction, ProgramKind};

/// A section's name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: ProgramKind,
    /// False for a leading `?`.
    pub(super) autoload: bool,
    pub(super) attach_btf: Option<AttachBtf>,
    /// What libbpf has taken since 1.0 instead of this name.
    pub(super) modern: Option<&'static str>,
}

/// The type in the kernel's BTF that a program is bound to when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttachBtf {
    /// The section gives no name after its `fentry` or the like.
    Unnamed,
    /// A function of the kernel.
    Function(String),
    /// A typedef of the kernel.
    Typedef(String),
}

/// Why a section's name will not do; completes a sentence that begins with the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadName {
    /// Not in the table.
    Unknown,
    /// libbpf knows it, but it needs what libbpf does in the loading process.
    Refused(&'static str),
    /// The part after the slash is missing or wrong.
    Malformed(&'static str),
}

/// Reads a program section's name.
pub(super) fn read(section: &str) -> Result<Meaning, BadName> {
    let (autoload, section) = match section.strip_prefix('?') {
        Some(section) => (false, section),
        None => (true, section),
    };
    let now = DEFS.iter().find_map(|def| Some((def, rest_of(section, def)?, None)));
    let (def, target, modern) = now.or_else(|| old(section)).ok_or(BadName::Unknown)?;
    let (auto_attach, attach_btf) = match def.rest {
        Rest::Target(rule) => rule.read(target)?,
        Rest::Nothing | Rest::Ignored => (by_attach_type(def), None),
    };
    let kind = ProgramKind {
        prog_type: def.prog_type as u32,
        expected_attach_type: def.attach_type,
        sleepable: def.sleepable,
        xdp_frags: def.name.starts_with("xdp.frags"),
        auto_attach,
    };
    Ok(Meaning { kind, autoload, attach_btf, modern })
}

/// The target in a name that the definition fits; empty if there is none.
fn rest_of<'a>(section: &'a str, def: &Def) -> Option<&'a str> {
    let rest = section.strip_prefix(def.name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let target = rest.strip_prefix('/')?;
    (def.rest != Rest::Nothing).then_some(target)
}

/// A name that libbpf took before 1.0, when it went by how names begin. The longest beginning
/// counts: `cgroup/sock_create1` is no `cgroup/sock`.
fn old(section: &str) -> Option<(&'static Def, &str, Option<&'static str>)> {
    let renamed = OLD_NAMES.iter().find_map(|(was, is)| {
        let rest = section.strip_prefix(was)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(*is)
    });
    let def = match renamed {
        Some(name) => DEFS.iter().find(|def| def.name == name),
        None => DEFS.iter().filter(|def| begins(section, def)).max_by_key(|def| def.name.len()),
    };
    def.map(|def| (def, "", Some(def.name)))
}

fn begins(section: &str, def: &Def) -> bool {
    let rest = section.strip_prefix(def.name);
    // Names with a target have always had the slash before it.
    !matches!(def.rest, Rest::Target(_))
        && rest.is_some_and(|rest| rest.starts_with(|c: char| c == '_' || c.is_ascii_digit()))
}

fn by_attach_type(def: &Def) -> AutoAttach {
    if def.attach_type == attach::BPF_TCX_INGRESS as u32 {
        AutoAttach::Tcx { direction: Direction::Ingress }
    } else if def.attach_type == attach::BPF_TCX_EGRESS as u32 {
        AutoAttach::Tcx { direction: Direction::Egress }
    } else {
        AutoAttach::None
    }
}

impl Target {
    fn read(self, text: &str) -> Result<(AutoAttach, Option<AttachBtf>), BadName> {
        if let Self::Refused(why) = self {
            return Err(BadName::Refused(why));
        }
        if text.is_empty() {
            return Ok((AutoAttach::None, self.without_name()));
        }
        let tracing = AutoAttach::Tracing { function: text.to_owned() };
        Ok(match self {
            Self::Tracepoint => {
                let (category, name) = text
                    .split_once('/')
                    .filter(|(category, name)| !category.is_empty() && !name.is_empty())
                    .ok_or(BadName::Malformed("a tracepoint is written tp/CATEGORY/NAME"))?;
                let (category, name) = (category.to_owned(), name.to_owned());
                (AutoAttach::Tracepoint { category, name }, None)
            }
            Self::RawTracepoint => (AutoAttach::RawTracepoint { name: text.to_owned() }, None),
            Self::Kprobe { on_return } => {
                let (symbol, offset) = symbol_and_offset(text)
                    .ok_or(BadName::Malformed("a kprobe is written kprobe/SYMBOL+OFFSET"))?;
                if on_return && offset != 0 {
                    return Err(BadName::Malformed("a kretprobe takes no offset"));
                }
                (AutoAttach::Kprobe { symbol: symbol.to_owned(), offset, on_return }, None)
            }
            Self::Ksyscall { on_return } => {
                let symbol = format!("{}{text}", syscall_prefix());
                (AutoAttach::Kprobe { symbol, offset: 0, on_return }, None)
            }
            Self::Uprobe { on_return } => (uprobe(text, on_return)?, None),
            Self::Multi => (AutoAttach::None, None),
            Self::Function(prefix) => {
                (tracing, Some(AttachBtf::Function(prefix.to_owned() + text)))
            }
            Self::Typedef(prefix) => (tracing, Some(AttachBtf::Typedef(prefix.to_owned() + text))),
            Self::Iter => {
                let function = format!("bpf_iter_{text}");
                (AutoAttach::Iter { target: text.to_owned() }, Some(AttachBtf::Function(function)))
            }
            Self::Refused(why) => return Err(BadName::Refused(why)),
        })
    }

    fn without_name(self) -> Option<AttachBtf> {
        match self {
            Self::Function(_) | Self::Typedef(_) | Self::Iter => Some(AttachBtf::Unnamed),
            Self::Tracepoint
            | Self::RawTracepoint
            | Self::Kprobe { .. }
            | Self::Ksyscall { .. }
            | Self::Uprobe { .. }
            | Self::Multi
            | Self::Refused(_) => None,
        }
    }
}

/// What the kernel puts before a system call's name where it wraps them.
const fn syscall_prefix() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "__x64_sys_"
    } else if cfg!(target_arch = "aarch64") {
        "__arm64_sys_"
    } else if cfg!(target_arch = "riscv64") {
        "__riscv_sys_"
    } else {
        "sys_"
    }
}

/// `SYMBOL`, `SYMBOL+12` or `SYMBOL+0xc`.
fn symbol_and_offset(text: &str) -> Option<(&str, u64)> {
    let (symbol, offset) = match text.split_once('+') {
        Some((symbol, offset)) => (symbol, number(offset)?),
        None => (text, 0),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '@' | ':');
    (!symbol.is_empty() && symbol.chars().all(fits)).then_some((symbol, offset))
}

/// `PATH:SYMBOL+OFFSET` or `PATH:OFFSET`.
fn uprobe(text: &str, on_return: bool) -> Result<AutoAttach, BadName> {
    let bad = BadName::Malformed("a uprobe is written uprobe/PATH:SYMBOL+OFFSET");
    // A path alone says too little to attach; the caller may say the rest.
    let Some((path, place)) = text.split_once(':') else {
        return Ok(AutoAttach::None);
    };
    let (symbol, offset) = match number(place) {
        Some(offset) => ("", offset),
        None => symbol_and_offset(place).ok_or(bad)?,
    };
    if path.is_empty() {
        return Err(bad);
    }
    Ok(AutoAttach::Uprobe { path: path.to_owned(), symbol: symbol.to_owned(), offset, on_return })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(section: &str) -> (u32, u32) {
        let kind = read(section).unwrap_or_else(|e| panic!("{section}: {e:?}")).kind;
        (kind.prog_type, kind.expected_attach_type)
    }

    fn auto(section: &str) -> AutoAttach {
        read(section).unwrap_or_else(|e| panic!("{section}: {e:?}")).kind.auto_attach
    }

    #[test]
    fn types_are_the_kernels_numbers() {
        for (section, expected) in [
            ("socket", (1, 0)),
            ("socket/http", (1, 0)),
            ("kprobe/do_unlinkat", (2, 0)),
            ("kprobe.multi/tcp_*", (2, 42)),
            ("tc", (3, 0)),
            ("tc/mine", (3, 0)),
            ("tc/ingress", (3, 46)),
            ("tcx/egress", (3, 47)),
            ("classifier", (3, 0)),
            ("action", (4, 0)),
            ("tp/sched/sched_switch", (5, 0)),
            ("xdp", (6, 37)),
            ("xdp/filter", (6, 37)),
            ("xdp/devmap", (6, 33)),
            ("xdp.frags/cpumap", (6, 35)),
            ("perf_event", (7, 0)),
            ("cgroup_skb/egress", (8, 1)),
            ("cgroup/skb", (8, 0)),
            ("cgroup/sock", (9, 2)),
            ("sockops", (13, 3)),
            ("cgroup/dev", (15, 6)),
            ("sk_msg", (16, 7)),
            ("raw_tp/sys_enter", (17, 0)),
            ("cgroup/connect_unix", (18, 49)),
            ("raw_tp.w", (24, 0)),
            ("cgroup/setsockopt", (25, 22)),
            ("fentry/do_unlinkat", (26, 24)),
            ("iter/task", (26, 28)),
            ("lsm/file_open", (29, 27)),
            ("sk_lookup", (30, 36)),
            ("syscall", (31, 0)),
            ("netfilter", (32, 45)),
        ] {
            assert_eq!(kind(section), expected, "{section}");
        }
    }

    #[test]
    fn flags_come_from_the_name() {
        assert!(read("lsm.s/file_open").unwrap().kind.sleepable);
        assert!(!read("lsm/file_open").unwrap().kind.sleepable);
        assert!(read("xdp.frags").unwrap().kind.xdp_frags);
        assert!(!read("xdp").unwrap().kind.xdp_frags);
        assert!(!read("?tcx/ingress").unwrap().autoload);
        assert!(read("tcx/ingress").unwrap().autoload);
    }

    #[test]
    fn targets_are_read() {
        let kprobe = |symbol: &str, offset, on_return| AutoAttach::Kprobe {
            symbol: symbol.into(),
            offset,
            on_return,
        };
        assert_eq!(auto("kprobe/f+0x10"), kprobe("f", 16, false));
        assert_eq!(auto("kretprobe/f"), kprobe("f", 0, true));
        assert_eq!(auto("kprobe"), AutoAttach::None);
        let tracepoint =
            AutoAttach::Tracepoint { category: "sched".into(), name: "sched_switch".into() };
        assert_eq!(auto("tp/sched/sched_switch"), tracepoint);
        assert_eq!(auto("tcx/ingress"), AutoAttach::Tcx { direction: Direction::Ingress });
        assert_eq!(auto("raw_tp/sys_exit"), AutoAttach::RawTracepoint { name: "sys_exit".into() });
        let uprobe = |path: &str, symbol: &str, offset| AutoAttach::Uprobe {
            path: path.into(),
            symbol: symbol.into(),
            offset,
            on_return: false,
        };
        assert_eq!(auto("uprobe//bin/sh:main+4"), uprobe("/bin/sh", "main", 4));
        assert_eq!(auto("uprobe/libc.so.6:0x40"), uprobe("libc.so.6", "", 64));
        assert_eq!(
            read("tp_btf/sched_switch").unwrap().attach_btf,
            Some(AttachBtf::Typedef("btf_trace_sched_switch".into()))
        );
        assert_eq!(
            read("lsm/file_open").unwrap().attach_btf,
            Some(AttachBtf::Function("bpf_lsm_file_open".into()))
        );
        assert_eq!(read("fexit").unwrap().attach_btf, Some(AttachBtf::Unnamed));
    }

    #[test]
    fn old_names_are_taken_and_the_modern_form_is_known() {
        for (section, modern) in [
            ("socket1", "socket"),
            ("?socket2", "socket"),
            ("xdp1", "xdp"),
            ("xdp_prog", "xdp"),
            ("xdp_redirect_map/0", "xdp"),
            ("xdp_devmap/egress", "xdp/devmap"),
            ("xdp_cpumap/drop", "xdp/cpumap"),
            ("tc1", "tc"),
            ("classifier_in", "classifier"),
            ("cgroup/skb1", "cgroup/skb"),
            ("cgroup/sock2", "cgroup/sock"),
            ("cgroup/sock_create1", "cgroup/sock_create"),
            ("cgroup/connect4_1", "cgroup/connect4"),
            ("lwt_xmit_1", "lwt_xmit"),
            ("sk_skb1", "sk_skb"),
        ] {
            let old = read(section).unwrap_or_else(|e| panic!("{section}: {e:?}"));
            assert_eq!(old.modern, Some(modern), "{section}");
            assert_eq!(old.kind, read(modern).unwrap().kind, "{section}");
            assert_eq!(old.autoload, !section.starts_with('?'));
        }
        for def in DEFS {
            if let Ok(meaning) = read(def.name) {
                assert_eq!(meaning.modern, None, "{}", def.name);
            }
        }
        assert_eq!(read("socket/1").unwrap().modern, None);
    }

    #[test]
    fn strange_names_are_refused() {
        for section in ["", "?", "xdpfilter", "tcx", "tcx/sideways", "cgroup/nope", "sk_lookup/x"] {
            assert_eq!(read(section), Err(BadName::Unknown), "{section}");
        }
        // What follows the name of these says where they attach.
        for section in ["kprobe1", "kprobe_do_unlinkat", "tp_sched", "fentry1", "usdt1", "xdpx1"] {
            assert_eq!(read(section), Err(BadName::Unknown), "{section}");
        }
        assert!(matches!(read("struct_ops/init"), Err(BadName::Refused(_))));
        assert!(matches!(read("tp/sched"), Err(BadName::Malformed(_))));
        assert!(matches!(read("kprobe/a b"), Err(BadName::Malformed(_))));
        assert!(matches!(read("kretprobe/f+4"), Err(BadName::Malformed(_))));
    }
}
