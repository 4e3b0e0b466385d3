//! Decoding straight to the bytes of a `google.protobuf.Value`, up to a limit.

use std::fmt;
use std::io::Write as _;

use super::form::{Form, NUMBER_BITS, Name};
use super::pb::special;

/// Numbers of the fields of `Value`, `Struct`, `ListValue` and the entries of a `Struct`.
pub(super) mod field {
    pub(in super::super) const NULL: u32 = 1;
    pub(in super::super) const NUMBER: u32 = 2;
    pub(in super::super) const STRING: u32 = 3;
    pub(in super::super) const BOOL: u32 = 4;
    pub(in super::super) const STRUCT: u32 = 5;
    pub(in super::super) const LIST: u32 = 6;
    pub(in super::super) const ENTRY: u32 = 1;
    pub(in super::super) const ITEM: u32 = 1;
    pub(in super::super) const ENTRY_NAME: u32 = 1;
    pub(in super::super) const ENTRY_VALUE: u32 = 2;
}

const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;

/// All numbers are below 16: one byte.
#[expect(clippy::cast_possible_truncation, reason = "checked by the shift")]
const fn key(number: u32, kind: u8) -> u8 {
    assert!(number < 16);
    (number << 3) as u8 | kind
}

/// Appends a Value's bytes. Behind the limit nothing is written any more.
pub(super) struct Protobuf<'a> {
    out: &'a mut Vec<u8>,
    /// Where the text must end.
    most: usize,
    full: bool,
}

/// Where the content of something begins whose length stands before it.
#[derive(Debug)]
pub(super) struct Begun(usize);

impl<'a> Protobuf<'a> {
    /// Writes until there are so many bytes in all.
    pub(super) fn new(out: &'a mut Vec<u8>, most: usize) -> Self {
        Self { out, most, full: false }
    }

    /// Whether something found no room.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.full || self.most.saturating_sub(self.out.len()) < bytes.len() {
            self.full = true;
            return;
        }
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn null(&mut self) {
        self.raw(&[key(field::NULL, VARINT), 0]);
    }

    pub(super) fn number(&mut self, number: f64) {
        let mut bytes = [key(field::NUMBER, DOUBLE); 9];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        self.raw(&bytes);
    }

    /// A field of a record.
    pub(super) fn named(&mut self, _: &mut Begun, name: &str, value: impl FnOnce(&mut Self)) {
        let entry = self.begin(key(field::ENTRY, BYTES));
        self.bytes(key(field::ENTRY_NAME, BYTES), name.as_bytes());
        let content = self.begin(key(field::ENTRY_VALUE, BYTES));
        value(self);
        self.end(&content);
        self.end(&entry);
    }

    fn bytes(&mut self, key: u8, bytes: &[u8]) {
        let begun = self.begin(key);
        self.raw(bytes);
        self.end(&begun);
    }

    /// Leaves one byte for the length.
    fn begin(&mut self, key: u8) -> Begun {
        self.raw(&[key, 0]);
        Begun(self.out.len())
    }

    /// Puts the length in its place: most are short, for others the content moves.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn end(&mut self, begun: &Begun) {
        if self.full {
            return;
        }
        let mut length = self.out.len() - begun.0;
        let mut bytes = [0; 10];
        let mut count = 0;
        while length >= 0x80 {
            bytes[count] = length as u8 | 0x80;
            length >>= 7;
            count += 1;
        }
        bytes[count] = length as u8;
        self.out[begun.0 - 1] = bytes[0];
        if count > 0 {
            let content = begun.0..self.out.len();
            self.raw(&[0; 10][..count]);
            if !self.full {
                self.out.copy_within(content, begun.0 + count);
                self.out[begun.0..][..count].copy_from_slice(&bytes[1..=count]);
            }
        }
    }

    fn digits(&mut self, number: impl itoa::Integer) {
        let mut buffer = itoa::Buffer::new();
        self.bytes(key(field::STRING, BYTES), buffer.format(number).as_bytes());
    }
}

impl Form for Protobuf<'_> {
    type Value = ();
    type Record = Begun;
    type List = Begun;

    fn truth(&mut self, truth: bool) {
        self.raw(&[key(field::BOOL, VARINT), truth.into()]);
    }

    fn unsigned(&mut self, number: u64, bits: u32) {
        match u32::try_from(number) {
            Ok(small) if bits <= NUMBER_BITS => self.number(small.into()),
            _ => self.digits(number),
        }
    }

    fn signed(&mut self, number: i64, bits: u32) {
        match i32::try_from(number) {
            Ok(small) if bits <= NUMBER_BITS => self.number(small.into()),
            _ => self.digits(number),
        }
    }

    fn double(&mut self, number: f64) {
        // protobuf's JSON has no way to write a Value that is such a number.
        if number.is_finite() {
            self.number(number);
        } else {
            self.text(special(number));
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(key(field::STRING, BYTES), text.as_bytes());
    }

    fn plain(&mut self, text: fmt::Arguments<'_>) {
        let begun = self.begin(key(field::STRING, BYTES));
        // It writes what fits and remembers the rest as too much.
        let _ = write!(Writer(self), "{text}");
        self.end(&begun);
    }

    fn record(&mut self, _: usize) -> Begun {
        self.begin(key(field::STRUCT, BYTES))
    }

    fn field(&mut self, record: &mut Begun, name: &Name, value: impl FnOnce(&mut Self)) {
        self.named(record, name.as_str(), value);
    }

    fn end_record(&mut self, record: Begun) {
        self.end(&record);
    }

    fn list(&mut self, _: usize) -> Begun {
        self.begin(key(field::LIST, BYTES))
    }

    fn item(&mut self, _: &mut Begun, value: impl FnOnce(&mut Self)) {
        let begun = self.begin(key(field::ITEM, BYTES));
        value(self);
        self.end(&begun);
    }

    fn end_list(&mut self, list: Begun) {
        self.end(&list);
    }
}

struct Writer<'w, 'a>(&'w mut Protobuf<'a>);

impl std::io::Write for Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.raw(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
