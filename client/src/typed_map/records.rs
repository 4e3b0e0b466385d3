//! Records of event buffers as Rust types.

use std::any::type_name;

use bpfgate_proto::value::Type;

use super::fields::{self, FieldsError};
use super::{Fields, Plain};
use crate::events::{Events, Record};
use crate::layout::LayoutError;

/// Why records cannot be read as this type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordTypeError {
    /// The agent's description of the records makes no sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The records are of another size.
    #[error("the records of map {map} have {size} bytes, {ty} has {got}")]
    Size {
        /// The map's name.
        map: String,
        /// Bytes by the record's type.
        size: usize,
        /// The Rust type.
        ty: &'static str,
        /// Bytes of that type.
        got: usize,
    },
    /// A field is elsewhere than the record's type has it.
    #[error("{ty} does not fit the records of map {map}")]
    Fields {
        /// The map's name.
        map: String,
        /// The Rust type.
        ty: &'static str,
        /// Which field, and where it should be.
        source: FieldsError,
    },
}

impl Events {
    /// Refuses a watch whose records have their fields elsewhere than this type, for
    /// [`Record::read`]. Records of which nobody says what they are pass.
    ///
    /// # Errors
    ///
    /// [`RecordTypeError`] names the field.
    pub fn check_records<T: Plain + Fields>(self) -> Result<Self, RecordTypeError> {
        let Some(ty) = self.header().record_type.clone() else { return Ok(self) };
        let map = || self.header().map.clone();
        let ty = Type::try_from(ty).map_err(|source| LayoutError::Schema { map: map(), source })?;
        let (size, got, name) = (ty.size as usize, size_of::<T>(), type_name::<T>());
        if size != got {
            return Err(RecordTypeError::Size { map: map(), size, ty: name, got });
        }
        match fields::check::<T>(&ty) {
            Ok(()) => Ok(self),
            Err(source) => Err(RecordTypeError::Fields { map: map(), ty: name, source }),
        }
    }
}

impl Record<'_> {
    /// The record as a Rust type; `None` for one that is shorter. What is behind it is left alone:
    /// the kernel fills records in perf buffers up.
    pub fn read<T: Plain>(&self) -> Option<T> {
        T::read_from_prefix(self.bytes).ok().map(|(record, _)| record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_from_its_start() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 9];
        let record = Record { bytes: &bytes, time: None, typed: None };
        assert_eq!(record.read::<[u32; 2]>().map(|two| two.map(u32::from_le)), Some([1, 2]));
        assert_eq!(record.read::<[u32; 3]>(), None);
    }
}
