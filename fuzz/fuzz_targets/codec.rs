#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bpfgate_fuzz_bodies::codec(input));
