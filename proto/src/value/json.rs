//! Decoding straight to JSON text: no tree, no formatter, no allocation but the text's own.

use std::fmt;
use std::io::Write as _;

use serde_json::{Number, Value as Json};

use super::address::{HEX, nibbles};
use super::form::{Form, NUMBER_BITS, Name};
use super::pb::special;

/// Appends JSON text.
pub(super) struct JsonText<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// 64-bit integers as strings, as proto3 JSON has them; bare for people.
    pub(super) quote_large: bool,
}

impl JsonText<'_> {
    #[inline]
    fn integer(&mut self, number: impl itoa::Integer, bits: u32) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number);
        if self.quote_large && bits > NUMBER_BITS {
            self.quoted(digits.as_bytes());
        } else {
            self.out.extend_from_slice(digits.as_bytes());
        }
    }

    #[inline]
    fn quoted(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    #[inline]
    fn separate(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }
}

impl Form for JsonText<'_> {
    type Value = ();
    /// Nothing has been written into it yet.
    type Record = bool;
    /// Nothing has been written into it yet.
    type List = bool;

    fn truth(&mut self, truth: bool) {
        self.out.extend_from_slice(if truth { b"true" } else { b"false" });
    }

    #[inline]
    fn unsigned(&mut self, number: u64, bits: u32) {
        self.integer(number, bits);
    }

    #[inline]
    fn signed(&mut self, number: i64, bits: u32) {
        self.integer(number, bits);
    }

    fn double(&mut self, number: f64) {
        match Number::from_f64(number) {
            // A Vec takes everything.
            Some(number) => _ = write!(self.out, "{number}"),
            None => self.quoted(special(number).as_bytes()),
        }
    }

    fn text(&mut self, text: &str) {
        if text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            let _ = write!(self.out, "{}", Json::from(text));
        } else {
            self.quoted(text.as_bytes());
        }
    }

    fn plain(&mut self, text: fmt::Arguments<'_>) {
        let _ = write!(self.out, "\"{text}\"");
    }

    fn hex_number(&mut self, number: u128) {
        self.out.extend_from_slice(b"\"0x");
        let bytes = number.to_be_bytes();
        let digits = bytes.iter().flat_map(|&byte| nibbles(byte));
        // The last digit stays, even of zero.
        let zeros = (number.leading_zeros() / 4).min(31) as usize;
        self.out.extend(digits.skip(zeros));
        self.out.push(b'"');
    }

    fn hex(&mut self, bytes: &[u8]) {
        self.out.reserve(HEX.len() + 2 + 2 * bytes.len());
        self.out.push(b'"');
        self.out.extend_from_slice(HEX.as_bytes());
        for &byte in bytes {
            self.out.extend_from_slice(&nibbles(byte));
        }
        self.out.push(b'"');
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        let mut buffer = itoa::Buffer::new();
        let mut before = b'"';
        for octet in octets {
            self.out.push(before);
            self.out.extend_from_slice(buffer.format(octet).as_bytes());
            before = b'.';
        }
        self.out.push(b'"');
    }

    fn mac(&mut self, octets: [u8; 6]) {
        let mut before = b'"';
        for octet in octets {
            self.out.push(before);
            self.out.extend_from_slice(&nibbles(octet));
            before = b':';
        }
        self.out.push(b'"');
    }

    #[inline]
    fn record(&mut self, _: usize) -> bool {
        self.out.push(b'{');
        true
    }

    #[inline]
    fn field(&mut self, first: &mut bool, name: &Name, value: impl FnOnce(&mut Self)) {
        self.separate(first);
        self.out.extend_from_slice(name.quoted.as_bytes());
        value(self);
    }

    #[inline]
    fn end_record(&mut self, _: bool) {
        self.out.push(b'}');
    }

    #[inline]
    fn list(&mut self, _: usize) -> bool {
        self.out.push(b'[');
        true
    }

    #[inline]
    fn item(&mut self, first: &mut bool, value: impl FnOnce(&mut Self)) {
        self.separate(first);
        value(self);
    }

    #[inline]
    fn end_list(&mut self, _: bool) {
        self.out.push(b']');
    }
}
