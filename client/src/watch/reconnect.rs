//! When a lost watch is tried again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How a watch is opened again when the connection is lost, or the agent goes away and comes back:
/// with pauses that double from one attempt to the next and are chosen at random between half and
/// the whole of that, so that a thousand watchers do not come back in step.
///
/// What cannot heal ([`crate::Error::may_heal`]) ends the watch at once.
#[derive(Debug, Clone)]
pub struct Reconnect {
    /// The longest that the first pause may be. 200 ms by default.
    pub first_pause: Duration,
    /// The longest that any pause may be. 15 s by default.
    pub longest_pause: Duration,
    /// Give up when it would take longer than this; the last error ends the watch. `None`, the
    /// default, goes on for ever.
    pub give_up_after: Option<Duration>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(15),
            give_up_after: None,
        }
    }
}

/// Where in that series of pauses a watch is.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: Reconnect,
    /// Since the last time that a watch was whole.
    failures: u32,
    lost_at: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(settings: Reconnect) -> Self {
        Self { settings, failures: 0, lost_at: None }
    }

    /// Failures before this one, and the pause until the next attempt; `None` to give up.
    pub(super) fn next(&mut self) -> Option<(u32, Duration)> {
        let before = self.failures;
        let pause = self.pause(before, random_fraction());
        let since = self.lost_at.get_or_insert_with(Instant::now).elapsed();
        if self.settings.give_up_after.is_some_and(|limit| since + pause > limit) {
            return None;
        }
        self.failures = before.saturating_add(1);
        Some((before, pause))
    }

    /// The watch is whole again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.lost_at = None;
    }

    fn pause(&self, failures: u32, fraction: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let whole = self.settings.first_pause.saturating_mul(doubled);
        whole.min(self.settings.longest_pause).mul_f64(0.5 + fraction / 2.0)
    }
}

/// At least 0, less than 1. The standard library's source of randomness is enough for pauses.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    let [.., a, b, c, d] = bits.to_ne_bytes();
    f64::from(u32::from_ne_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_not_all_the_same() {
        let backoff = Backoff::new(Reconnect::default());
        let whole = |failures| backoff.pause(failures, 1.0).as_millis();
        assert_eq!([0, 1, 2, 3].map(whole), [200, 400, 800, 1600]);
        assert_eq!([7, 31, 32, u32::MAX].map(whole), [15_000; 4]);
        assert_eq!(backoff.pause(0, 0.0).as_millis(), 100);
        let fractions: Vec<_> = (0..100).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)), "{fractions:?}");
        assert!(fractions.iter().any(|it| *it < 0.5) && fractions.iter().any(|it| *it >= 0.5));
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_when_told_and_starts_over_behind_a_whole_watch() {
        let give_up_after = Some(Duration::from_secs(10));
        let mut backoff = Backoff::new(Reconnect { give_up_after, ..Reconnect::default() });
        let started = Instant::now();
        let mut attempts = 0;
        while let Some((before, pause)) = backoff.next() {
            assert_eq!(before, attempts);
            attempts += 1;
            tokio::time::sleep(pause).await;
        }
        assert!((5..15).contains(&attempts) && started.elapsed() <= Duration::from_secs(10));
        backoff.reset();
        assert_eq!(backoff.next().map(|(before, _)| before), Some(0));
    }
}
