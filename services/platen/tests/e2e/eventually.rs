//! Waiting for what another process does.

use std::time::{Duration, Instant};

/// Waits until `look` finds something, for `patience` at most: the one place where tests look again and again.
pub(crate) async fn within<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
