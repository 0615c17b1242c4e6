//! Records gather between batches.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// When a consumer looks again: after a batch that was not full, only once records have had time to gather.
#[derive(Debug)]
pub(crate) struct Gather {
    time: Duration,
    until: Option<Instant>,
}

impl Gather {
    /// `time`: `gather` of [`crate::Log::consume`].
    pub(crate) const fn new(time: Duration) -> Self {
        Self { time, until: None }
    }

    /// Waits for what is left of the time. Whoever gives up waiting waits for the rest the next time.
    pub(crate) async fn wait(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
    }

    /// A batch is handed out.
    pub(crate) fn handed_out(&mut self, is_full: bool) {
        self.until = (!is_full && !self.time.is_zero()).then(|| Instant::now() + self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_follows_a_batch_that_was_not_full_waits() {
        let time = Duration::from_millis(100);
        for (gather, is_full, expected) in [
            (time, false, time),
            (time, true, Duration::ZERO),
            (Duration::ZERO, false, Duration::ZERO),
        ] {
            let mut gather = Gather::new(gather);
            let start = Instant::now();
            gather.wait().await;
            assert_eq!(start.elapsed(), Duration::ZERO, "the first does not");

            gather.handed_out(is_full);
            gather.wait().await;
            gather.wait().await;
            assert_eq!(start.elapsed(), expected);
        }
    }
}
