//! What goes wrong between a client and the agent, whatever the call is about: messages that cannot
//! be taken in, and time that has passed.

/// What went wrong between the client and the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// A message of a request that is larger than it may be.
    #[error("the message has {bytes} bytes, the limit is {limit} (max_message_bytes)")]
    MessageTooLarge {
        /// As its prefix claims.
        bytes: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A request that ends in the middle of a message.
    #[error("the request ended in the middle of a message, {bytes} bytes behind its begin")]
    MessageCut {
        /// What came of it, with its prefix.
        bytes: u64,
    },
    /// A request whose end did not come.
    #[error(
        "the request was not complete within {seconds} s, which is the agent's request_seconds"
    )]
    SlowRequest {
        /// How long it may take.
        seconds: u64,
    },
    /// An answer that was not there in time.
    #[error("there was no answer within {seconds} s, which is the agent's answer_seconds")]
    SlowAnswer {
        /// How long it may take.
        seconds: u64,
    },
    /// The client's own deadline has passed.
    #[error("the deadline that the client gave has passed")]
    GivenUp,
    /// An upload whose end did not come.
    #[error("the upload was not complete within {seconds} s")]
    SlowUpload {
        /// How long it may take.
        seconds: u64,
    },
    /// A client that stopped in the middle of its stream.
    #[error("the client sent nothing for {seconds} s, which is the agent's stall_seconds")]
    Silent {
        /// How long it may be silent.
        seconds: u64,
    },
    /// A stream that nobody reads.
    #[error("the client read nothing for {seconds} s, which is the agent's stall_seconds")]
    Unread {
        /// The limit.
        seconds: u64,
    },
}
