//! Two sides by turns.

use anyhow::Result;

/// What both sides brought, round by round.
pub(crate) struct Rounds {
    pub(crate) left: Vec<f64>,
    pub(crate) right: Vec<f64>,
}

impl Rounds {
    /// Each side once to warm up, then `count` times. The first to go changes from round to round,
    /// so that neither always finds the machine as the other left it.
    pub(crate) async fn run(
        count: usize,
        mut left: impl AsyncFnMut() -> Result<f64>,
        mut right: impl AsyncFnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut rounds = Self { left: Vec::new(), right: Vec::new() };
        left().await?;
        right().await?;
        for round in 0..count {
            if round % 2 == 0 {
                rounds.left.push(left().await?);
                rounds.right.push(right().await?);
            } else {
                rounds.right.push(right().await?);
                rounds.left.push(left().await?);
            }
        }
        Ok(rounds)
    }

    /// Left over right, round by round.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.left.iter().zip(&self.right).map(|(left, right)| left / right).collect()
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
