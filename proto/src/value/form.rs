//! What decoding builds: a JSON tree, JSON text, or a protobuf value's bytes.
//!
//! The decoder walks the bytes once and tells a [`Form`] what it meets, so that no form is made
//! by way of another.

use std::fmt;
use std::net::Ipv4Addr;

use serde_json::{Map, Number, Value as Json};

use super::address::{Hex, Mac};
use super::pb::special;

/// Integers of more bits than this are strings in proto3 JSON.
pub(super) const NUMBER_BITS: u32 = 32;

/// Takes what the decoder meets.
pub(super) trait Form {
    type Value;
    type Record;
    type List;

    fn truth(&mut self, truth: bool) -> Self::Value;
    /// An integer of so many bits, at most 64.
    fn unsigned(&mut self, number: u64, bits: u32) -> Self::Value;
    /// An integer of so many bits, at most 64.
    fn signed(&mut self, number: i64, bits: u32) -> Self::Value;
    fn double(&mut self, number: f64) -> Self::Value;
    fn text(&mut self, text: &str) -> Self::Value;
    /// Text that is the same in JSON.
    fn plain(&mut self, text: fmt::Arguments<'_>) -> Self::Value;
    /// `0x1f`
    fn hex_number(&mut self, number: u128) -> Self::Value {
        self.plain(format_args!("{number:#x}"))
    }
    /// `hex:0a0b`
    fn hex(&mut self, bytes: &[u8]) -> Self::Value {
        self.plain(format_args!("{}", Hex(bytes)))
    }
    /// `10.0.0.1`
    fn ipv4(&mut self, octets: [u8; 4]) -> Self::Value {
        self.plain(format_args!("{}", Ipv4Addr::from(octets)))
    }
    /// `02:00:00:00:00:01`
    fn mac(&mut self, octets: [u8; 6]) -> Self::Value {
        self.plain(format_args!("{}", Mac(octets)))
    }

    fn record(&mut self, fields: usize) -> Self::Record;
    fn field(
        &mut self,
        record: &mut Self::Record,
        name: &Name,
        value: impl FnOnce(&mut Self) -> Self::Value,
    );
    fn end_record(&mut self, record: Self::Record) -> Self::Value;

    fn list(&mut self, length: usize) -> Self::List;
    fn item(&mut self, list: &mut Self::List, value: impl FnOnce(&mut Self) -> Self::Value);
    fn end_list(&mut self, list: Self::List) -> Self::Value;
}

/// A field's name, and how JSON text has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Name {
    name: Box<str>,
    /// `"name":`
    pub(super) quoted: Box<str>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), quoted: format!("{}:", Json::from(name)).into() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.name
    }
}

/// Builds `serde_json` values.
pub(super) struct JsonTree;

impl Form for JsonTree {
    type Value = Json;
    type Record = Map<String, Json>;
    type List = Vec<Json>;

    fn truth(&mut self, truth: bool) -> Json {
        Json::Bool(truth)
    }

    fn unsigned(&mut self, number: u64, bits: u32) -> Json {
        if bits > NUMBER_BITS { Json::String(number.to_string()) } else { Json::from(number) }
    }

    fn signed(&mut self, number: i64, bits: u32) -> Json {
        if bits > NUMBER_BITS { Json::String(number.to_string()) } else { Json::from(number) }
    }

    fn double(&mut self, number: f64) -> Json {
        Number::from_f64(number).map_or_else(|| Json::from(special(number)), Json::Number)
    }

    fn text(&mut self, text: &str) -> Json {
        Json::String(text.to_owned())
    }

    fn plain(&mut self, text: fmt::Arguments<'_>) -> Json {
        Json::String(text.to_string())
    }

    fn record(&mut self, fields: usize) -> Map<String, Json> {
        Map::with_capacity(fields)
    }

    fn field(
        &mut self,
        record: &mut Map<String, Json>,
        name: &Name,
        value: impl FnOnce(&mut Self) -> Json,
    ) {
        record.insert(name.as_str().to_owned(), value(self));
    }

    fn end_record(&mut self, record: Map<String, Json>) -> Json {
        Json::Object(record)
    }

    fn list(&mut self, length: usize) -> Vec<Json> {
        Vec::with_capacity(length)
    }

    fn item(&mut self, list: &mut Vec<Json>, value: impl FnOnce(&mut Self) -> Json) {
        list.push(value(self));
    }

    fn end_list(&mut self, list: Vec<Json>) -> Json {
        Json::Array(list)
    }
}
