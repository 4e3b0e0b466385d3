//! The fuzzers' corpora, and a fixed number of their mutations: what CI has of fuzzing, without a
//! toolchain for it.

use std::fs;
use std::path::Path;

use bpfgate_fuzz_bodies::{BODIES, Body};

/// Mutations of a corpus.
const MUTATIONS: usize = 3000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let entries = fs::read_dir(&directory).expect("a corpus");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a file")).collect()
}

/// `SplitMix64`: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides.max(1) as u64).expect("less than before")
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.insert(at, self.byte()),
                1 => bytes.truncate(at),
                2 => {
                    let other = &corpus[self.below(corpus.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len()).min(other.len())..]);
                }
                _ => match bytes.get_mut(at) {
                    Some(byte) => *byte = [self.byte(), *byte ^ 1, 0, 255][self.below(4)],
                    None => bytes.push(self.byte()),
                },
            }
        }
        bytes
    }
}

fn replay(name: &str) {
    let body: Body = BODIES.iter().find(|(known, _)| *known == name).expect("a body").1;
    let corpus = corpus(name);
    assert!(corpus.len() > 10, "the corpus of {name} is gone");
    for input in &corpus {
        body(input);
    }
    let mut dice = Dice(1);
    for _ in 0..MUTATIONS {
        let input = dice.mutate(&corpus);
        let held = std::panic::catch_unwind(|| body(&input));
        assert!(held.is_ok(), "{name} does not hold for {input:?}");
    }
}

#[test]
fn any_btf_is_refused_or_read() {
    replay("btf");
}

#[test]
fn any_bytes_of_any_type_decode_the_same_in_every_way() {
    replay("codec");
}

#[test]
fn any_name_that_parses_is_written_as_it_was_read() {
    replay("names");
}

#[test]
fn any_schema_is_refused_or_usable() {
    replay("schema");
}

#[test]
fn any_text_is_read_or_explained() {
    replay("text");
}

#[test]
fn any_token_is_refused_or_read_back() {
    replay("tokens");
}

#[test]
fn every_body_has_a_fuzzer_and_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, _) in BODIES {
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name}");
        assert!(fuzz.join("corpus").join(name).is_dir(), "{name}");
    }
}
