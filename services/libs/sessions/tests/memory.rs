//! The memory adapters, held to the laws.

use platen_sessions::{
    Presence, SessionCache, conformance,
    memory::{MemoryCache, MemoryMarks},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_obey_the_laws() {
    conformance::cache(&MemoryCache::new(), 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn marks_obey_the_laws() {
    conformance::marks(&MemoryMarks::new(), 7).await;
}

#[tokio::test(start_paused = true)]
async fn time_obeys_the_laws() {
    conformance::time(&MemoryCache::new(), &MemoryMarks::new(), 7).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_ended_without_a_word_leave_no_memory() {
    let cache = MemoryCache::new();
    let put = async |number: u128, idle| {
        cache
            .put(
                number.to_be_bytes(),
                [0; 16],
                vec![0; 1_000].into(),
                Duration::from_secs(idle),
            )
            .await
            .unwrap();
    };
    for number in 0..10_000 {
        put(number, 90).await;
    }
    assert_eq!(cache.len(), 10_000);

    tokio::time::advance(Duration::from_secs(91)).await;
    for number in 10_000..11_000 {
        put(number, 90).await;
    }

    assert_eq!(
        cache.len(),
        1_000,
        "each piece was swept when something was put there"
    );
    assert_eq!(
        cache.look(10_500_u128.to_be_bytes()).await.unwrap(),
        Presence::Waiting
    );
}
