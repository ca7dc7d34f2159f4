//! How long answers took.

use std::time::Duration;

/// Durations, to the microsecond; over an hour counts as an hour.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn record(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What so many in a hundred did not exceed, in milliseconds; none of nothing. Exact: nothing is put into classes.
    #[must_use]
    pub fn percentiles<const N: usize>(mut self, parts: [u32; N]) -> Option<[f64; N]> {
        self.0.sort_unstable();
        let rank = |part: u32| (self.0.len() as u64 * u64::from(part)).div_ceil(100).saturating_sub(1);
        let at = |part| self.0.get(usize::try_from(rank(part)).unwrap_or(usize::MAX)).map(|micros| f64::from(*micros) / 1_000.0);
        let found: Vec<f64> = parts.into_iter().map_while(at).collect();
        found.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_that_so_many_do_not_exceed() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.clone().percentiles([50]), None);
        for millis in (1..=200).rev() {
            latencies.record(Duration::from_millis(millis));
        }
        assert_eq!(latencies.count(), 200);
        assert_eq!(latencies.percentiles([0, 1, 50, 99, 100]), Some([1.0, 2.0, 100.0, 198.0, 200.0]));
    }
}
