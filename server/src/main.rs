//! bpfgated.
fn main() {}
