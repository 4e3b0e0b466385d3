//! Small bars: how a counter went, or how a histogram is spread.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// What bars are made of, the lowest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bars(&'static [char; 8]);

impl Bars {
    /// For a terminal that has nothing else.
    #[cfg(test)]
    pub(crate) fn ascii() -> Self {
        Self(&ASCII)
    }

    /// Blocks where the locale says that the terminal has them.
    pub(crate) fn of_locale() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let utf8 =
            locale.is_some_and(|it| it.to_ascii_lowercase().replace('-', "").contains("utf8"));
        if utf8 { Self(&BLOCKS) } else { Self(&ASCII) }
    }

    /// Whether nothing but ASCII is to be shown.
    pub(crate) fn is_ascii(self) -> bool {
        self.0[0].is_ascii()
    }

    /// What stands for something that was left out.
    pub(crate) fn ellipsis(self) -> char {
        if self.is_ascii() { '~' } else { '…' }
    }

    /// The last `cells` numbers, of which the tallest bar is the largest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
    #[allow(clippy::cast_precision_loss, reason = "7 is exact")]
    pub(crate) fn draw(self, numbers: impl Iterator<Item = f64>, cells: usize) -> String {
        let numbers: Vec<f64> = numbers.map(f64::abs).collect();
        let seen = &numbers[numbers.len().saturating_sub(cells)..];
        let most = seen.iter().copied().fold(0.0, f64::max);
        let top = self.0.len() - 1;
        let bar = |number: &f64| {
            let level = if most > 0.0 { (number / most * top as f64).ceil() as usize } else { 0 };
            self.0[level.min(top)]
        };
        seen.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_newest_and_tell_little_from_nothing() {
        let draw = |numbers: &[f64]| Bars(&BLOCKS).draw(numbers.iter().copied(), 4);
        assert_eq!(draw(&[9.0, 0.0, 0.1, 5.0, 10.0]), "▁▂▅█");
        assert_eq!(draw(&[0.0, 0.0]), "▁▁");
        assert_eq!(draw(&[]), "");
    }
}
