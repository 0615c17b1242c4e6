//! What an idle session costs, counted at the ports.

use crate::{
    bed::{Bed, Ports, until},
    wire::Device,
};
use platen_bus::watched::Counts;
use platen_cwmp::event_code::EventCode;
use platen_edge::Config;
use platen_sessions::watched::{Call, Watch, Watched};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Calls of the session cache.
#[derive(Debug, Default)]
struct CacheCounts {
    puts: AtomicUsize,
    takes: AtomicUsize,
    removes: AtomicUsize,
}

impl Watch for CacheCounts {
    fn before(&self, call: Call) -> Result<(), platen_sessions::Error> {
        let count = match call {
            Call::Put | Call::PutBack => &self.puts,
            Call::Take => &self.takes,
            Call::Remove => &self.removes,
            Call::Look | Call::WaitIdle => return Ok(()),
        };
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Reads, writes, puts, takes, records since the last call.
fn taken(ports: &Counts, cache: &CacheCounts) -> [usize; 5] {
    [
        &ports.reads,
        &ports.writes,
        &cache.puts,
        &cache.takes,
        &ports.appended,
    ]
    .map(|count| count.swap(0, Ordering::SeqCst))
}

#[tokio::test]
async fn an_idle_session_keeps_to_its_budget() {
    let counts = Arc::new(Counts::default());
    let cache = Arc::new(CacheCounts::default());
    let (of_bed, of_cache) = (Arc::clone(&counts), Arc::clone(&cache));
    let bed = Bed::start_with(Config::default(), |ports| Ports {
        tables: platen_store::watched::Watched::new(ports.tables, of_bed.clone()),
        log: platen_bus::watched::Watched::new(ports.log, of_bed),
        sessions: Watched::new(ports.sessions, of_cache),
        ..ports
    })
    .await;
    bed.register("1", "secret").await;
    bed.register("2", "secret").await;
    // Another device has called before: the tenant is known.
    let mut other = Device::connect(bed.address, "2", "secret").await;
    other.open(&[EventCode::Periodic]).await;
    other.post_plain(&[], b"").await.unwrap();
    until(async || cache.removes.load(Ordering::SeqCst) >= 1).await;

    // Credentials and queue; then the queue alone, since the credentials are known.
    for reads in [2, 1] {
        taken(&counts, &cache);
        let mut device = Device::connect(bed.address, "1", "secret").await;
        assert_eq!(device.open(&[EventCode::Periodic]).await.1.status, 200);
        assert_eq!(device.post_plain(&[], b"").await.unwrap().status, 204);
        let [read, written, put, taken, records] = taken(&counts, &cache);
        assert_eq!((read, written, put, taken, records), (reads, 0, 1, 1, 1));
    }
    until(async || cache.removes.load(Ordering::SeqCst) >= 3).await;
}
