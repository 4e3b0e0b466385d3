//! Numbers, sizes, times and widths for people.

use jiff::tz::TimeZone;
use prost_types::Timestamp;

/// Columns of a terminal that the text takes, near enough: wide and combining characters are
/// counted as one.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let whole = 1_u64 << (10 * power);
    format!("{:.1} {}", ratio(bytes, whole), UNITS[power - 1])
}

#[allow(clippy::cast_precision_loss, reason = "one decimal of it is shown")]
fn ratio(of: u64, whole: u64) -> f64 {
    of as f64 / whole as f64
}

/// `-1,234,567`.
pub(crate) fn grouped(value: i128) -> String {
    let (sign, digits) = (if value < 0 { "-" } else { "" }, value.unsigned_abs().to_string());
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    text.push_str(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 k/s`, `1.2 MB/s` where the unit is bytes, `840 ns/s`.
pub(crate) fn rate(per_second: f64, unit: &str) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut scaled = per_second.abs();
    let mut prefix = 0;
    while scaled >= 999.5 && prefix + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    let unit = match unit {
        "By" => "B",
        // Times and the like: their own prefix would read as another unit.
        "ns" | "us" | "ms" | "s" => unit,
        _ => "",
    };
    let sign = if per_second < 0.0 { "-" } else { "" };
    let decimals = usize::from(scaled < 99.95 && (prefix > 0 || scaled.fract() > 0.0));
    let suffix = format!("{}{unit}", PREFIXES[prefix]);
    let space = if suffix.is_empty() { "" } else { " " };
    format!("{sign}{scaled:.decimals$}{space}{suffix}/s")
}

/// `12.3%`; what is not quite nothing does not look like it.
pub(crate) fn percent(percent: f64) -> String {
    if percent > 0.0 && percent < 0.05 { "<0.1%".to_owned() } else { format!("{percent:.1}%") }
}

/// Where people's times are told.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    pub(crate) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The host's, or what `TZ` says.
    pub(crate) fn local() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// `2026-01-31 13:00:00 CET`.
    pub(crate) fn time(&self, time: &Timestamp) -> String {
        self.write(time, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// `13:00:00.250 CET`.
    pub(crate) fn clock(&self, time: &Timestamp) -> String {
        self.write(time, "%H:%M:%S.%3f %Z")
    }

    fn write(&self, time: &Timestamp, form: &str) -> String {
        let Ok(at) = jiff::Timestamp::new(time.seconds, time.nanos) else {
            // Beyond the year 9999.
            return time.to_string();
        };
        at.to_zoned_datetime(self.0.clone()).strftime(form).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(u64::MAX.into()), "18,446,744,073,709,551,615");
        assert_eq!(grouped(-123_456), "-123,456");
    }

    #[test]
    fn rates_keep_three_digits_or_so() {
        assert_eq!(rate(0.0, ""), "0/s");
        assert_eq!(rate(0.25, "packets"), "0.2/s");
        assert_eq!(rate(840.0, ""), "840/s");
        assert_eq!(rate(12_345.0, "packets"), "12.3 k/s");
        assert_eq!(rate(1_234_567.0, "By"), "1.2 MB/s");
        assert_eq!(rate(999_999.0, ""), "1.0 M/s");
        assert_eq!(rate(-5.0, "By"), "-5 B/s");
        assert_eq!([0.0, 0.001, 12.34, 250.0].map(percent), ["0.0%", "<0.1%", "12.3%", "250.0%"]);
    }

    #[test]
    fn times_say_their_zone() {
        let at = Timestamp { seconds: 1_769_860_800, nanos: 250_400_000 };
        assert_eq!(Zone::utc().time(&at), "2026-01-31 12:00:00 UTC");
        assert_eq!(Zone::utc().clock(&at), "12:00:00.250 UTC");
        let rule = Zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        assert_eq!(rule.time(&at), "2026-01-31 13:00:00 CET");
        let far = Timestamp { seconds: i64::MAX, nanos: 0 };
        assert!(!Zone::utc().time(&far).is_empty());
    }
}
