//! Bytes to values.

use serde_json::Value as Json;

use super::error::LengthError;
use super::form::{Form, JsonText, JsonTree, ProtobufTree};
use super::plan::{Plan, Shape, Step};

impl Plan {
    /// Bytes to JSON. Integers of more than 32 bits are strings, as in proto3 JSON. A union shows
    /// every member.
    pub fn decode(&self, bytes: &[u8]) -> Result<Json, LengthError> {
        self.check(bytes)?;
        Ok(part(&self.steps, 0, bytes, &mut JsonTree))
    }

    /// Bytes to what gRPC carries: the same as `decode`, without JSON in between.
    pub fn decode_protobuf(&self, bytes: &[u8]) -> Result<prost_types::Value, LengthError> {
        self.check(bytes)?;
        Ok(part(&self.steps, 0, bytes, &mut ProtobufTree))
    }

    /// Appends to the text the JSON that `decode` gives, without building it first.
    pub fn write_json(&self, bytes: &[u8], out: &mut String) -> Result<(), LengthError> {
        self.check(bytes)?;
        part(&self.steps, 0, bytes, &mut JsonText { out, quote_large: true });
        Ok(())
    }

    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), LengthError> {
        if bytes.len() == self.size {
            Ok(())
        } else {
            Err(LengthError { expected: self.size, got: bytes.len() })
        }
    }
}

/// Builds the part at that place from bytes that start with the innermost array's element.
pub(super) fn part<F: Form>(steps: &[Step], at: usize, bytes: &[u8], form: &mut F) -> F::Value {
    let step = &steps[at];
    let own = bytes.get(step.offset..).unwrap_or_default();
    match &step.shape {
        Shape::Scalar(scalar) => scalar.render(own, form),
        Shape::Record { .. } => {
            let mut record = form.record(step.end - at - 1);
            fields(steps, at, bytes, form, &mut record);
            form.end_record(record)
        }
        Shape::Array { length, stride } => {
            let mut list = form.list(*length);
            for index in 0..*length {
                let element = own.get(index * stride..).unwrap_or_default();
                form.item(&mut list, |form| part(steps, at + 1, element, form));
            }
            form.end_list(list)
        }
    }
}

fn fields<F: Form>(steps: &[Step], at: usize, bytes: &[u8], form: &mut F, record: &mut F::Record) {
    let mut field = at + 1;
    while field < steps[at].end {
        let step = &steps[field];
        if let Shape::Record { anonymous: true, .. } = step.shape {
            fields(steps, field, bytes, form, record);
        } else {
            form.field(record, &step.name, |form| part(steps, field, bytes, form));
        }
        field = step.end;
    }
}
