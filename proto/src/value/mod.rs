//! What the bytes of keys and values mean.
