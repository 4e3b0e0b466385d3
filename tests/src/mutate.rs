//! Damaged files: reproducible from a seed, and damaged where it hurts.

/// A source of numbers that are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The next number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.number() % end).expect("less than a usize")
    }
}

/// What damage is done with: the edges of counts, sizes and offsets.
const EDGES: [u64; 10] =
    [0, 1, 7, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];

/// A copy of an ELF file with one to four pieces of damage.
pub fn mutate(elf: &[u8], random: &mut Random) -> Vec<u8> {
    let mut copy = elf.to_vec();
    for _ in 0..=random.below(4) {
        damage(&mut copy, random);
    }
    copy
}

fn damage(elf: &mut Vec<u8>, random: &mut Random) {
    const ELF_HEADER: usize = 64;
    const SECTION_HEADER: usize = 64;
    if elf.len() <= ELF_HEADER + 8 {
        elf.push(0);
        return;
    }
    let anywhere = random.below(elf.len() - 8);
    // Where the section headers are, if that is still told.
    let table = elf[40..48].try_into().map_or(0, u64::from_le_bytes);
    let room = elf.len().saturating_sub(SECTION_HEADER + 8);
    let table = usize::try_from(table).ok().filter(|&at| at < room);
    match random.below(10) {
        // Bits of anything.
        0 | 1 => elf[anywhere] ^= 1 << random.below(8),
        2 => elf[anywhere] = random.number().to_le_bytes()[0],
        // A word of anything.
        3 => write(elf, anywhere & !3, 4, random),
        4 => write(elf, anywhere & !7, 8, random),
        // A word of the headers.
        5 => {
            let at = random.below(ELF_HEADER - 8);
            write(elf, at, 2, random);
        }
        6 | 7 => {
            let start = table.unwrap_or(0);
            let at = start + random.below(elf.len() - 8 - start);
            let size = if random.below(2) == 0 { 4 } else { 8 };
            write(elf, at & !3, size, random);
        }
        // A piece that is elsewhere, or gone.
        8 => {
            let from = random.below(elf.len());
            let length = random.below(256).min(elf.len() - from).min(elf.len() - anywhere);
            elf.copy_within(from..from + length, anywhere);
        }
        _ if random.below(8) == 0 => elf.truncate(anywhere + 1),
        _ => {
            let end = (anywhere + random.below(64)).min(elf.len());
            elf[anywhere..end].fill(0);
        }
    }
}

fn write(elf: &mut [u8], at: usize, size: usize, random: &mut Random) {
    let near = elf.len() as u64 - 1 + random.number() % 3;
    let value = match random.below(4) {
        0 => near,
        1 => random.number() % 64,
        2 => random.number(),
        _ => EDGES[random.below(EDGES.len())],
    };
    elf[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let elf = crate::elf::TYPED;
        for seed in 0..200 {
            let once = mutate(elf, &mut Random::new(seed));
            assert_eq!(once, mutate(elf, &mut Random::new(seed)), "seed {seed}");
        }
    }

    #[test]
    fn short_files_are_damaged_too() {
        for length in 0..100 {
            mutate(&vec![0xff; length], &mut Random::new(7));
        }
    }
}
