//! When to try again to reach a device that something waits for.

const SECOND: i64 = 1_000_000;

/// Pause (µs) between connection request number `attempt` (from 1) and the next. A device that was `reached` gets at least a minute to come.
pub(crate) fn pause_us(attempt: u32, reached: bool) -> i64 {
    let seconds = match attempt {
        0 | 1 => 30,
        2 => 120,
        3 => 600,
        4 => 3_600,
        _ => 6 * 3_600,
    };
    let least = if reached { 60 } else { 0 };
    seconds.max(least) * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_ends_at_six_hours() {
        let ladder: Vec<i64> = (1..8)
            .map(|attempt| pause_us(attempt, false) / SECOND)
            .collect();
        assert_eq!(ladder, [30, 120, 600, 3_600, 21_600, 21_600, 21_600]);
        assert_eq!(pause_us(1, true), 60 * SECOND);
    }
}
