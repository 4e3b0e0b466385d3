//! Parsing object files in the parsing process of the real agent binary.

mod hostile;
mod plans;
mod support;
