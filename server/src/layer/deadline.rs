//! What a client says of its own patience: the header `grpc-timeout`.

use std::time::Duration;

use http::HeaderMap;

/// The longest that is waited for anybody, so that no clock overflows.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// How long the client waits. A header that makes no sense says nothing, as everywhere in gRPC.
pub(super) fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_nonsense_says_nothing() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            client_timeout(&headers)
        };
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("99999999H"), Some(LONGEST));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1u").max(read("1000n")), Some(Duration::from_micros(1)));
        for nonsense in ["", "S", "3", "3X", "-1S", "123456789S", "1.5S"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
        assert_eq!(client_timeout(&HeaderMap::new()), None);
    }
}
