//! bpfgate.
fn main() {}
