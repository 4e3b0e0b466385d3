//! A plan's way to JSON text, flattened: what to write before each number, where the number is,
//! and nothing to decide on the way.
//!
//! The general decoder ([`super::decode`]) asks of every part what it is, and grows the text piece
//! by piece; here the text's room is made first, and every store is of a size that the compiler
//! knows.

use super::digits;
use super::form::Form as _;
use super::json::JsonText;
use super::plan::{Shape, Step};
use super::scalar::{Load, Meaning, Scalar};
use super::schema::ByteOrder;

/// Room for the longest number or address, its quotes, and the stores that overlap its end.
const NUMBER_ROOM: usize = 16 + digits::ROOM;
/// Most room that is made at once.
const ROOM_MAX: usize = 4096;
/// Fixed text is copied in pieces of this size.
const PIECE: usize = 16;

/// Compiled once per plan.
#[derive(Debug, Clone)]
pub(super) struct Script {
    acts: Vec<Act>,
    /// Enough for a value without arrays and texts.
    room: usize,
}

#[derive(Debug, Clone)]
enum Act {
    /// A scalar, behind some fixed text.
    Scalar { before: Fixed, offset: usize, way: Way },
    /// The acts up to `end` for each element.
    Each { before: Fixed, offset: usize, length: usize, stride: usize, end: usize },
    /// Fixed text only.
    Text(Fixed),
}

/// Of one act in a list that doubles when it is full, its text aside.
pub(super) fn act_bytes() -> u64 {
    2 * size_of::<Act>() as u64
}

/// How a scalar is written. `swap`: its bytes are not in this host's order.
#[derive(Debug, Clone, Copy)]
enum Way {
    U8,
    U16 {
        swap: bool,
    },
    U32 {
        swap: bool,
    },
    U64 {
        swap: bool,
    },
    I8,
    I16 {
        swap: bool,
    },
    I32 {
        swap: bool,
    },
    I64 {
        swap: bool,
    },
    Ipv4,
    /// As the general decoder does, by the plan's step.
    Other(usize),
}

/// Fixed text, padded so that it can be copied in whole pieces.
#[derive(Debug, Clone, Default)]
struct Fixed {
    pieces: Box<[[u8; PIECE]]>,
    len: usize,
}

impl Fixed {
    fn take(text: &mut Vec<u8>) -> Self {
        let len = text.len();
        text.resize(len.next_multiple_of(PIECE), 0);
        let pieces = text.as_chunks().0.into();
        text.clear();
        Self { pieces, len }
    }
}

impl Script {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut writer = Compiler { steps, acts: Vec::new(), pending: Vec::new() };
        writer.part(0, 0);
        writer.flush();
        let room = |act: &Act| match act {
            Act::Scalar { before, .. } => before.pieces.len() * PIECE + NUMBER_ROOM,
            Act::Each { before, .. } | Act::Text(before) => before.pieces.len() * PIECE,
        };
        let room = writer.acts.iter().map(room).sum::<usize>().min(ROOM_MAX);
        Self { acts: writer.acts, room }
    }

    /// Appends the value's JSON.
    pub(super) fn write(&self, steps: &[Step], bytes: &[u8], out: &mut Vec<u8>) {
        let mut text = Text { at: out.len(), out };
        text.out.resize(text.at + self.room, 0);
        self.acts(0..self.acts.len(), steps, bytes, &mut text);
        text.out.truncate(text.at);
    }

    fn acts(
        &self,
        range: std::ops::Range<usize>,
        steps: &[Step],
        bytes: &[u8],
        text: &mut Text<'_>,
    ) {
        let mut next = range.start;
        while next < range.end {
            let act = &self.acts[next];
            next += 1;
            match act {
                Act::Scalar { before, offset, way } => {
                    text.fixed(before);
                    way.write(bytes.get(*offset..).unwrap_or_default(), steps, text);
                }
                Act::Each { before, offset, length, stride, end } => {
                    text.fixed(before);
                    for index in 0..*length {
                        if index > 0 {
                            text.byte(b',');
                        }
                        let element = bytes.get(offset + index * stride..).unwrap_or_default();
                        self.acts(next..*end, steps, element, text);
                    }
                    next = *end;
                }
                Act::Text(fixed) => text.fixed(fixed),
            }
        }
    }
}

impl Way {
    #[inline]
    fn write(self, at: &[u8], steps: &[Step], text: &mut Text<'_>) {
        macro_rules! load {
            ($kind:ty, $swap:expr) => {{
                let number = at.first_chunk().map_or(0, |bytes| <$kind>::from_ne_bytes(*bytes));
                if $swap { number.swap_bytes() } else { number }
            }};
        }
        match self {
            Self::U8 => text.number(false, load!(u8, false).into(), false),
            Self::U16 { swap } => text.number(false, load!(u16, swap).into(), false),
            Self::U32 { swap } => text.number(false, load!(u32, swap).into(), false),
            Self::U64 { swap } => text.number(false, load!(u64, swap), true),
            Self::I8 => text.signed(load!(i8, false).into(), false),
            Self::I16 { swap } => text.signed(load!(i16, swap).into(), false),
            Self::I32 { swap } => text.signed(load!(i32, swap).into(), false),
            Self::I64 { swap } => text.signed(load!(i64, swap), true),
            Self::Ipv4 => text.ipv4(at.first_chunk().copied().unwrap_or_default()),
            Self::Other(step) => text.other(&steps[step], at),
        }
    }
}

/// The text so far ends at `at`; behind it is room.
struct Text<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl Text<'_> {
    /// The room behind the text, at least so much.
    #[inline]
    fn room(&mut self, least: usize) -> &mut [u8] {
        if self.out.len() - self.at < least {
            self.grow(least);
        }
        &mut self.out[self.at..]
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        const MORE: usize = 256;
        self.out.resize(self.at + least.next_multiple_of(MORE), 0);
    }

    #[inline]
    fn fixed(&mut self, fixed: &Fixed) {
        let room = self.room(fixed.pieces.len() * PIECE);
        for (room, piece) in room.as_chunks_mut().0.iter_mut().zip(&fixed.pieces) {
            *room = *piece;
        }
        self.at += fixed.len;
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.room(1)[0] = byte;
        self.at += 1;
    }

    #[inline]
    fn signed(&mut self, number: i64, quoted: bool) {
        self.number(number < 0, number.unsigned_abs(), quoted);
    }

    #[inline]
    fn number(&mut self, negative: bool, magnitude: u64, quoted: bool) {
        let Some(room) = self.room(NUMBER_ROOM).first_chunk_mut::<NUMBER_ROOM>() else { return };
        let mut at = 0;
        room[at] = b'"';
        at += usize::from(quoted);
        room[at] = b'-';
        at += usize::from(negative);
        at += digits::write(magnitude, &mut room[at..]);
        room[at] = b'"';
        self.at += at + usize::from(quoted);
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        let Some(room) = self.room(NUMBER_ROOM).first_chunk_mut::<NUMBER_ROOM>() else { return };
        let mut at = 0;
        let mut before = b'"';
        for octet in octets {
            room[at] = before;
            at += 1;
            at += digits::write(octet.into(), &mut room[at..]);
            before = b'.';
        }
        room[at] = b'"';
        self.at += at + 1;
    }

    fn other(&mut self, step: &Step, at: &[u8]) {
        let Shape::Scalar(scalar) = &step.shape else { return };
        self.out.truncate(self.at);
        scalar.render(at, &mut JsonText { out: self.out, quote_large: true });
        self.at = self.out.len();
    }
}

struct Compiler<'a> {
    steps: &'a [Step],
    acts: Vec<Act>,
    /// Fixed text that the next act writes first.
    pending: Vec<u8>,
}

impl Compiler<'_> {
    fn json(&mut self) -> JsonText<'_> {
        JsonText { out: &mut self.pending, quote_large: true }
    }

    /// `base` is where the step's surroundings start in the innermost array's element.
    fn part(&mut self, at: usize, base: usize) {
        let steps = self.steps;
        let step = &steps[at];
        let offset = base + step.offset;
        match &step.shape {
            Shape::Scalar(scalar) => {
                let before = Fixed::take(&mut self.pending);
                self.acts.push(Act::Scalar { before, offset, way: Way::of(scalar, at) });
            }
            Shape::Record { .. } => {
                let mut first = self.json().record(0);
                self.fields(at, base, &mut first);
                self.json().end_record(first);
            }
            Shape::Array { length, stride } => {
                self.pending.push(b'[');
                if *length > 0 {
                    let before = Fixed::take(&mut self.pending);
                    let place = self.acts.len();
                    let (length, stride) = (*length, *stride);
                    self.acts.push(Act::Each { before, offset, length, stride, end: 0 });
                    self.part(at + 1, 0);
                    self.flush();
                    let here = self.acts.len();
                    if let Act::Each { end, .. } = &mut self.acts[place] {
                        *end = here;
                    }
                }
                self.pending.push(b']');
            }
        }
    }

    fn fields(&mut self, at: usize, base: usize, first: &mut bool) {
        let steps = self.steps;
        let mut field = at + 1;
        while field < steps[at].end {
            let step = &steps[field];
            if let Shape::Record { anonymous: true, .. } = step.shape {
                self.fields(field, base, first);
            } else {
                self.json().field(first, &step.name, |_| ());
                self.part(field, base);
            }
            field = step.end;
        }
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.acts.push(Act::Text(Fixed::take(&mut self.pending)));
        }
    }
}

impl Way {
    fn of(scalar: &Scalar, step: usize) -> Self {
        let Load::Int { size, order } = scalar.load else {
            return match scalar.meaning {
                Meaning::Ipv4 => Self::Ipv4,
                _ => Self::Other(step),
            };
        };
        let swap = order != ByteOrder::HOST;
        match (&scalar.meaning, size) {
            (Meaning::Unsigned, 1) => Self::U8,
            (Meaning::Unsigned, 2) => Self::U16 { swap },
            (Meaning::Unsigned, 4) => Self::U32 { swap },
            (Meaning::Unsigned, 8) => Self::U64 { swap },
            (Meaning::Signed, 1) => Self::I8,
            (Meaning::Signed, 2) => Self::I16 { swap },
            (Meaning::Signed, 4) => Self::I32 { swap },
            (Meaning::Signed, 8) => Self::I64 { swap },
            (Meaning::Ipv4, _) => Self::Ipv4,
            _ => Self::Other(step),
        }
    }
}
