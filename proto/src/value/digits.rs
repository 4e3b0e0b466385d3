//! Decimal digits of integers, eight at a time.

/// Most bytes that [`write()`] touches: one digit more than the longest number needs, because the
/// first group is stored whole.
pub(super) const ROOM: usize = 28;

const EIGHT: u64 = 100_000_000;
const SIXTEEN: u64 = EIGHT * EIGHT;
/// "00000000"
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Writes the number's digits to the front of `room`, which has at least [`ROOM`] bytes; returns
/// how many they are. What is behind them afterwards is rubbish.
#[inline]
pub(super) fn write(number: u64, room: &mut [u8]) -> usize {
    debug_assert!(room.len() >= ROOM);
    let Some(room) = room.first_chunk_mut::<ROOM>() else { return 0 };
    if number < EIGHT {
        return first(number, room);
    }
    if number < SIXTEEN {
        let end = first(number / EIGHT, room);
        next(number % EIGHT, room, end);
        return end + 8;
    }
    let end = first(number / SIXTEEN, room);
    let rest = number % SIXTEEN;
    next(rest / EIGHT, room, end);
    next(rest % EIGHT, room, end + 8);
    end + 16
}

/// The first group, without its zeros.
#[inline]
fn first(number: u64, room: &mut [u8; ROOM]) -> usize {
    let digits = eight(number);
    // The last digit stays, even of zero.
    let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
    let text = (digits + ZEROS) >> (8 * zeros);
    room[..8].copy_from_slice(&text.to_le_bytes());
    8 - zeros as usize
}

#[inline]
fn next(number: u64, room: &mut [u8; ROOM], at: usize) {
    let text = eight(number) + ZEROS;
    if let Some(room) = room.get_mut(at..at + 8) {
        room.copy_from_slice(&text.to_le_bytes());
    }
}

/// Eight digits of a number below 100,000,000, a byte each, the highest in the lowest byte:
/// halves, then pairs, then digits are split at the same time, divisions done as products.
#[inline]
fn eight(number: u64) -> u64 {
    const HUNDREDS: u64 = 0x0000_007f_0000_007f;
    const TENS: u64 = 0x000f_000f_000f_000f;
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & HUNDREDS;
    let pairs = ((halves - 100 * hundreds) << 16) | hundreds;
    let tens = ((pairs * 103) >> 10) & TENS;
    ((pairs - 10 * tens) << 8) | tens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.wrapping_mul(7)]);
        let spread = (0..20_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 64));
        for number in edges.chain(spread).chain(0..20_000).chain([u64::MAX]) {
            let mut room = [b'x'; ROOM];
            let length = write(number, &mut room);
            assert_eq!(room[..length], *number.to_string().as_bytes());
        }
    }

    #[test]
    fn every_group_of_four_is_split_right() {
        for number in 0..10_000 {
            let digits = eight(number * 10_000 + number).to_le_bytes().map(|digit| digit + b'0');
            assert_eq!(digits, *format!("{number:04}{number:04}").as_bytes());
        }
    }
}
