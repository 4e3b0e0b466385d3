//! A map whose keys and values are Rust types.

mod entries;
mod fields;
mod records;

use std::any::type_name;
use std::marker::PhantomData;

use bpfgate_proto::v1;
use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::batch::EntryBatch;
use crate::entries::IterateOptions;
use crate::error::Error;
use crate::layout::{Layout, LayoutError};
use crate::maps::Maps;
use crate::{CpuMode, UpdateMode};

pub use entries::TypedEntries;
pub use fields::{FieldPlace, Fields, FieldsError, field_place};
pub use records::RecordTypeError;

/// What a map's key or value can be: plain old data, without padding, any bytes of which are a
/// value. Numbers and arrays of them are; a struct is by [`plain!`](crate::plain), or by the
/// derives of [`zerocopy`].
pub trait Plain: FromBytes + IntoBytes + Immutable + Send + 'static {}

/// Defines structs of plain old data, `repr(C)`, for keys, values and records: [`Plain`], and with
/// their [`Fields`] told. A struct with padding does not compile: name what C adds by itself.
///
/// ```
/// bpfgate_client::plain! {
///     /// Who listens.
///     #[derive(PartialEq, Eq, Hash)]
///     pub struct Endpoint {
///         /// In network order.
///         pub address: [u8; 4],
///         pub port: [u8; 2],
///         padding: [u8; 2],
///     }
/// }
/// # use bpfgate_client::Fields;
/// assert_eq!(Endpoint::FIELDS[1].offset, 4);
/// ```
#[macro_export]
macro_rules! plain {
    ($($(#[$about:meta])* $vis:vis struct $name:ident {
        $($(#[$field_about:meta])* $field_vis:vis $field:ident: $ty:ty),* $(,)?
    })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy)]
        #[derive(
            $crate::zerocopy::FromBytes,
            $crate::zerocopy::IntoBytes,
            $crate::zerocopy::Immutable,
        )]
        #[zerocopy(crate = "bpfgate_client::zerocopy")]
        #[repr(C)]
        $vis struct $name { $($(#[$field_about])* $field_vis $field: $ty,)* }

        $crate::fields!($name { $($field),* });
    )+};
}

impl<T: FromBytes + IntoBytes + Immutable + Send + 'static> Plain for T {}

/// A map whose keys are `K`s and whose values are `V`s, checked when it was opened: sizes, per-CPU
/// stride and byte order always, single fields by [`Self::check_key`] and [`Self::check_value`].
///
/// ```no_run
/// use bpfgate_client::Client;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("unix:/run/bpfgate/bpfgate.sock").await?;
/// let bytes = client.maps().typed::<u32, u64>("proto-counters/by_proto").await?;
/// if let Some(udp) = bytes.get(&17).await? {
///     println!("UDP: {udp} bytes");
/// }
/// let mut entries = bytes.iter().await?;
/// while let Some((protocol, bytes)) = entries.next_entry().await? {
///     println!("{protocol}: {bytes}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedMap<K, V> {
    maps: Maps,
    /// As the caller wrote it.
    reference: String,
    about: v1::Map,
    types: PhantomData<fn() -> (K, V)>,
}

/// Why a map cannot be used with these types.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedMapError {
    /// The map could not be asked.
    #[error(transparent)]
    Client(#[from] Error),
    /// The map's own description makes no sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A type of another size.
    #[error("the {part} of map {map} has {size} bytes, {ty} has {got}")]
    Size {
        /// The map, as the caller wrote it.
        map: String,
        /// `key` or `value`.
        part: &'static str,
        /// Bytes by the map.
        size: usize,
        /// The Rust type.
        ty: &'static str,
        /// Bytes of that type.
        got: usize,
    },
    /// The agent's host has its numbers the other way around.
    #[error("the agent's host is not of this host's byte order: use Layout and Plan::compile_for")]
    ByteOrder,
    /// A field is elsewhere than the map's schema has it.
    #[error("{ty} does not fit the {part} of map {map}")]
    Fields {
        /// The map, as the caller wrote it.
        map: String,
        /// `key` or `value`.
        part: &'static str,
        /// The Rust type.
        ty: &'static str,
        /// Which field, and where it should be.
        source: FieldsError,
    },
}

impl Maps {
    /// Opens a map for keys and values of these types. Asks the agent what the map is, and refuses
    /// types that do not fit it.
    ///
    /// # Errors
    ///
    /// [`TypedMapError::Client`] as [`Maps::get`], [`TypedMapError::Size`] for types of other
    /// sizes, [`TypedMapError::ByteOrder`] for an agent on a host of another kind.
    pub async fn typed<K: Plain, V: Plain>(
        &self,
        map: &str,
    ) -> Result<TypedMap<K, V>, TypedMapError> {
        let about = self.get(map).await?;
        let agent = self.client.agent().get().await?;
        let host = if cfg!(target_endian = "big") {
            v1::ByteOrder::BigEndian
        } else {
            v1::ByteOrder::LittleEndian
        };
        if agent.byte_order() != host {
            return Err(TypedMapError::ByteOrder);
        }
        // What the agent says of the map has to agree with itself.
        Layout::of(&about)?;
        let spec = about.spec.clone().unwrap_or_default();
        fits::<K>(map, "key", spec.key_size)?;
        fits::<V>(map, "value", spec.value_size)?;
        let reference = map.to_owned();
        Ok(TypedMap { maps: self.clone(), reference, about, types: PhantomData })
    }
}

fn fits<T>(map: &str, part: &'static str, size: u32) -> Result<(), TypedMapError> {
    let (size, got) = (size as usize, size_of::<T>());
    if size == got {
        return Ok(());
    }
    Err(TypedMapError::Size { map: map.to_owned(), part, size, ty: type_name::<T>(), got })
}

impl<K: Plain, V: Plain> TypedMap<K, V> {
    /// What the agent said of the map when it was opened.
    pub fn about(&self) -> &v1::Map {
        &self.about
    }

    /// Refuses a map whose schema has the key's fields elsewhere. A map without a schema passes.
    ///
    /// # Errors
    ///
    /// [`TypedMapError::Fields`] names the field and where it should be.
    pub fn check_key(self) -> Result<Self, TypedMapError>
    where
        K: Fields,
    {
        let key = self.about.schema.as_ref().and_then(|schema| schema.key.clone());
        self.check::<K>("key", key)?;
        Ok(self)
    }

    /// Refuses a map whose schema has the value's fields elsewhere. A map without a schema passes.
    ///
    /// # Errors
    ///
    /// [`TypedMapError::Fields`] names the field and where it should be.
    pub fn check_value(self) -> Result<Self, TypedMapError>
    where
        V: Fields,
    {
        let value = self.about.schema.as_ref().and_then(|schema| schema.value.clone());
        self.check::<V>("value", value)?;
        Ok(self)
    }

    fn check<T: Fields>(
        &self,
        part: &'static str,
        ty: Option<v1::Type>,
    ) -> Result<(), TypedMapError> {
        let Some(ty) = ty else { return Ok(()) };
        let map = || self.reference.clone();
        let ty = ty.try_into().map_err(|source| LayoutError::Schema { map: map(), source })?;
        fields::check::<T>(&ty).map_err(|source| {
            let (map, ty) = (map(), type_name::<T>());
            TypedMapError::Fields { map, part, ty, source }
        })
    }

    /// The value of a key, `None` if it has no entry. Of a per-CPU map the sum over the CPUs, if
    /// its numbers have 64 bits; see [`Self::get_sum`] for others.
    ///
    /// # Errors
    ///
    /// As [`Maps::lookup`], but for a key that is not there; `FAILED_PRECONDITION` (`WIDE_SUM`) for
    /// sums of another layout than `V`.
    pub async fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let found = self.maps.lookup(&self.reference, key.as_bytes(), CpuMode::Sum).await;
        present(found)?.map(|bytes| one("Lookup", &bytes)).transpose()
    }

    /// The sum of a key's values over the CPUs, `None` if it has no entry. Sums have 64 bits, so `S`
    /// is what the map's `sum_type` is: `u64` where the value is a `u32`.
    ///
    /// # Errors
    ///
    /// As [`Maps::lookup`], but for a key that is not there; [`Error::Protocol`] if `S` is of
    /// another size than the sums.
    pub async fn get_sum<S: Plain>(&self, key: &K) -> Result<Option<S>, Error> {
        let maps = self.maps.wide_sums();
        let found = maps.lookup(&self.reference, key.as_bytes(), CpuMode::Sum).await;
        present(found)?.map(|bytes| one("Lookup", &bytes)).transpose()
    }

    /// The value of a key for every possible CPU, in order of CPU; of a map that is not per-CPU
    /// its only one.
    ///
    /// # Errors
    ///
    /// As [`Maps::lookup`], but for a key that is not there.
    pub async fn get_per_cpu(&self, key: &K) -> Result<Option<Vec<V>>, Error> {
        let found = self.maps.lookup(&self.reference, key.as_bytes(), CpuMode::Each).await;
        present(found)?.map(|bytes| each("Lookup", &bytes, self.about.per_cpu)).transpose()
    }

    /// Makes the entry, or replaces it. On a per-CPU map every CPU gets the value.
    ///
    /// # Errors
    ///
    /// As [`Maps::update`].
    pub async fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        self.update(key, value, UpdateMode::Any).await
    }

    /// The same, minding whether there is an entry: `NOEXIST` clashes are
    /// [`crate::Code::AlreadyExists`], a missing entry is [`crate::Code::NotFound`].
    ///
    /// # Errors
    ///
    /// As [`Maps::update`].
    pub async fn update(&self, key: &K, value: &V, mode: UpdateMode) -> Result<(), Error> {
        self.maps.update(&self.reference, key.as_bytes(), value.as_bytes(), mode).await
    }

    /// Gives each CPU of a per-CPU map a value of its own; as many as there are possible CPUs.
    ///
    /// # Errors
    ///
    /// As [`Maps::update`]; `INVALID_ARGUMENT` (`VALUE_LENGTH`) if there are not as many values as
    /// CPUs.
    pub async fn insert_per_cpu(&self, key: &K, values: &[V]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(self.about.value_stride as usize);
        for value in values {
            bytes.extend_from_slice(value.as_bytes());
            if self.about.per_cpu {
                // The kernel rounds each CPU's value up to 8 bytes.
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        self.maps.update(&self.reference, key.as_bytes(), bytes, UpdateMode::Any).await
    }

    /// Removes the entry; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Maps::delete_entry`], but for a key that is not there.
    pub async fn remove(&self, key: &K) -> Result<bool, Error> {
        let removed = self.maps.delete_entry(&self.reference, key.as_bytes()).await;
        Ok(present(removed)?.is_some())
    }

    /// Writes any number of entries in order, up to the first that the kernel does not take; how
    /// many there were. An error tells with [`crate::RpcError::applied`] how many were written.
    ///
    /// # Errors
    ///
    /// As [`crate::Restore::send`].
    pub async fn insert_all(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
        mode: UpdateMode,
    ) -> Result<u64, Error> {
        let mut restore = self.maps.restore(&self.reference, mode);
        let mut entries = entries.into_iter();
        loop {
            let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0);
            for (key, value) in entries.by_ref().take(BATCH) {
                keys.extend_from_slice(key.as_bytes());
                values.extend_from_slice(value.as_bytes());
                count += 1;
            }
            if count == 0 {
                return restore.finish().await;
            }
            restore.send(EntryBatch::packed(count, keys, values)).await?;
        }
    }

    /// All entries, as a `Stream`; of a per-CPU map with the sums over the CPUs, as in
    /// [`Self::get`].
    ///
    /// # Errors
    ///
    /// As [`Maps::iterate`].
    #[expect(clippy::iter_not_returning_iterator, reason = "a stream: entries have to come first")]
    pub async fn iter(&self) -> Result<TypedEntries<K, V>, Error> {
        let options = IterateOptions { cpu: CpuMode::Sum, ..IterateOptions::default() };
        let entries = self.maps.iterate(&self.reference, options).await?;
        TypedEntries::new(entries)
    }

    /// All entries with the sums over the CPUs, as in [`Self::get_sum`].
    ///
    /// # Errors
    ///
    /// As [`Maps::iterate`]; [`Error::Protocol`] if `S` is of another size than the sums.
    pub async fn iter_sums<S: Plain>(&self) -> Result<TypedEntries<K, S>, Error> {
        let cpu = CpuMode::Sum;
        let options = IterateOptions { cpu, wide_sums: true, ..IterateOptions::default() };
        let entries = self.maps.iterate(&self.reference, options).await?;
        TypedEntries::new(entries)
    }
}

/// That there is no such key is an answer.
fn present<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.as_rpc().and_then(|rpc| rpc.reason.as_deref()) == Some(NO_SUCH_KEY) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Entries packed at once.
const BATCH: usize = 4096;
const NO_SUCH_KEY: &str = "NO_SUCH_KEY";

fn one<T: Plain>(rpc: &'static str, bytes: &[u8]) -> Result<T, Error> {
    T::read_from_bytes(bytes).map_err(|_| other_size::<T>(rpc, bytes.len()))
}

fn other_size<T>(rpc: &'static str, got: usize) -> Error {
    let size = size_of::<T>();
    Error::protocol(rpc, format!("{got} bytes instead of {size}; was the map replaced?"))
}

fn each<T: Plain>(rpc: &'static str, bytes: &Bytes, per_cpu: bool) -> Result<Vec<T>, Error> {
    let size = size_of::<T>();
    let stride = if per_cpu { size.next_multiple_of(8) } else { size };
    if stride == 0 || !bytes.len().is_multiple_of(stride) {
        return Err(other_size::<T>(rpc, bytes.len()));
    }
    bytes.chunks_exact(stride).map(|value| one(rpc, &value[..size])).collect()
}
