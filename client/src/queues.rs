//! Maps without keys: queues, stacks and bloom filters.

use bpfgate_proto::v1;
use bpfgate_proto::value::value_to_json;
use bytes::Bytes;
use tonic::Code;

use crate::datum::Datum;
use crate::error::Error;
use crate::maps::Maps;

impl Maps {
    /// Adds a value to a queue, a stack or a bloom filter; an error if the queue or stack is full.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` (`MAP_FULL`), `UNIMPLEMENTED` for a map that takes none,
    /// `INVALID_ARGUMENT` for a value of another size or type, `PERMISSION_DENIED` for a map that
    /// the agent does not own, `NOT_FOUND` if there is no such map.
    pub async fn push(&self, map: &str, value: impl Into<Datum>) -> Result<(), Error> {
        self.push_as(map, value.into(), false).await
    }

    /// Adds a value to a queue or a stack, and drops the oldest to make room in a full one.
    ///
    /// # Errors
    ///
    /// As [`Self::push`], but for a full one; `INVALID_ARGUMENT` for a bloom filter, which has no
    /// oldest.
    pub async fn push_replacing(&self, map: &str, value: impl Into<Datum>) -> Result<(), Error> {
        self.push_as(map, value.into(), true).await
    }

    async fn push_as(&self, map: &str, value: Datum, replace_oldest: bool) -> Result<(), Error> {
        let call = self.client.call("Push");
        let (map, value) = (map.to_owned(), Some(value.into()));
        let request = call.request(v1::PushRequest { map, value, replace_oldest });
        call.answer(self.rpc().push(request).await)?;
        Ok(())
    }

    /// Takes out the oldest value of a queue, the newest of a stack. [`Code::NotFound`] if there is
    /// none.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`EMPTY`; `NO_SUCH_MAP` if there is none), `UNIMPLEMENTED` for a map that is
    /// neither, `PERMISSION_DENIED` for one that the agent does not own.
    pub async fn pop(&self, map: &str) -> Result<Bytes, Error> {
        Ok(self.pop_as(map, false).await?.value)
    }

    /// The same by the map's schema, 64-bit integers as strings.
    ///
    /// # Errors
    ///
    /// As [`Self::pop`]; `FAILED_PRECONDITION` (`NO_SCHEMA`) for a map without a schema.
    pub async fn pop_typed(&self, map: &str) -> Result<serde_json::Value, Error> {
        let answer = self.pop_as(map, true).await?;
        let value = self.client.call("Pop").part(answer.typed_value, "typed_value")?;
        Ok(value_to_json(&value))
    }

    async fn pop_as(&self, map: &str, typed: bool) -> Result<v1::PopResponse, Error> {
        let call = self.client.call("Pop");
        let request = call.request(v1::PopRequest { map: map.to_owned(), typed });
        call.answer(self.rpc().pop(request).await)
    }

    /// Reads what [`Maps::pop`] would take out, and leaves it there.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`EMPTY`; `NO_SUCH_MAP` if there is none), `UNIMPLEMENTED` for a map that has
    /// none to show.
    pub async fn peek(&self, map: &str) -> Result<Bytes, Error> {
        Ok(self.peek_as(map, None, false).await?.value)
    }

    /// The same by the map's schema, 64-bit integers as strings.
    ///
    /// # Errors
    ///
    /// As [`Self::peek`]; `FAILED_PRECONDITION` (`NO_SCHEMA`) for a map without a schema.
    pub async fn peek_typed(&self, map: &str) -> Result<serde_json::Value, Error> {
        let answer = self.peek_as(map, None, true).await?;
        let value = self.client.call("Peek").part(answer.typed_value, "typed_value")?;
        Ok(value_to_json(&value))
    }

    /// Whether a bloom filter may hold a value; `false` is certain.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a value of another size or type, and for a queue or stack;
    /// `UNIMPLEMENTED` for a map that has no values to ask for; `NOT_FOUND` if there is no such
    /// map.
    pub async fn may_contain(&self, map: &str, value: impl Into<Datum>) -> Result<bool, Error> {
        match self.peek_as(map, Some(value.into()), false).await {
            Ok(_) => Ok(true),
            Err(Error::Rpc(error))
                if error.code == Code::NotFound
                    && error.reason.as_deref() == Some("NOT_IN_FILTER") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn peek_as(
        &self,
        map: &str,
        value: Option<Datum>,
        typed: bool,
    ) -> Result<v1::PeekResponse, Error> {
        let call = self.client.call("Peek");
        let (map, value) = (map.to_owned(), value.map(Into::into));
        let request = call.request(v1::PeekRequest { map, value, typed });
        call.answer(self.rpc().peek(request).await)
    }
}
