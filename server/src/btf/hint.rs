//! What the author of a program has noted on a declaration, for us:
//! `__attribute__((btf_decl_tag("bpfgate:ipv4")))`.
//!
//! Compilers keep such notes in BTF. Those that say how to show a value become part of its type
//! here; all of them are handed on, for whoever else has a use for them.

use bpfgate_proto::value::{Display, Kind, Type};

/// A note on a type or on a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The part: "rx.bytes"; "rows[].bytes" for that field of every element; empty for the type
    /// itself.
    pub path: String,
    /// What stands behind "bpfgate:".
    pub text: String,
}

/// How a tag wants its value to be shown; `None` if it is about something else.
pub(super) fn display(text: &str) -> Option<Display> {
    match text {
        "ipv4" => Some(Display::Ipv4),
        "ipv6" => Some(Display::Ipv6),
        "mac" => Some(Display::Mac),
        "hex" => Some(Display::Hex),
        _ => None,
    }
}

/// Has the type shown that way, or its elements if these are what it fits. A hint that fits
/// neither changes nothing.
pub(super) fn show(ty: &mut Type, wanted: Display) {
    let fits = match wanted {
        Display::Plain => false,
        Display::Ipv4 => ty.size == 4,
        Display::Ipv6 => ty.size == 16,
        Display::Mac => ty.size == 6,
        Display::Hex => true,
    };
    match &mut ty.kind {
        Kind::Integer { display, .. } | Kind::Opaque { display } if fits => *display = wanted,
        Kind::Array { element, display, .. } => {
            if fits && (wanted != Display::Hex || element.size == 1) {
                *display = wanted;
            } else {
                show(element, wanted);
            }
        }
        Kind::Record { .. } if fits => ty.kind = Kind::Opaque { display: wanted },
        Kind::Integer { .. }
        | Kind::Opaque { .. }
        | Kind::Record { .. }
        | Kind::Float
        | Kind::Enum { .. }
        | Kind::Pointer => {}
    }
}
