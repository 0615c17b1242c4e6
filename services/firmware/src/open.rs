//! Which devices have open transfers: lets the sessions of all others pass without a read.

use platen_store::{
    Entity, Error, Store,
    table::{Part, Range},
    tables::OpenTransfers,
};
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

/// Most devices of one shard that are held; of a shard with more, every device counts as open.
const MAX_OPEN: usize = 16_384;

/// Most shards, of all tenants together; beyond, all are read again.
const MAX_SHARDS: usize = 65_536;

/// The devices with open transfers, by tenant and shard. A shard is read once, when the first device of it is seen; from then on it is kept up by who
/// writes the rows, which is the owner of the shard.
#[derive(Debug)]
pub(crate) struct OpenDevices {
    store: Store,
    shards: Mutex<HashMap<(String, u8), Slot>>,
}

/// Empty until the shard has been read.
type Slot = Arc<OnceCell<Mutex<Shard>>>;

#[derive(Debug)]
enum Shard {
    /// Hashes of the ids of these devices.
    Some(HashSet<u64>),
    /// More than can be held.
    TooMany,
}

impl OpenDevices {
    /// Nothing read yet.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            shards: Mutex::default(),
        }
    }

    /// Whether a device may have open transfers. `false` is sure.
    pub(crate) async fn may_have(&self, tenant: &str, device: &str) -> Result<bool, Error> {
        let shard = self.shard(tenant, device);
        let shard = shard.get_or_try_init(|| self.read(tenant, device)).await?;
        Ok(
            match &*shard.lock().unwrap_or_else(PoisonError::into_inner) {
                Shard::Some(devices) => devices.contains(&hash(device)),
                Shard::TooMany => true,
            },
        )
    }

    /// The device's row has been written: it has open transfers, or none.
    ///
    /// A reading of its shard that is under way may have missed the row: then it is forgotten, and the next who asks reads again.
    pub(crate) fn set(&self, tenant: &str, device: &str, open: bool) {
        let shard = self.shard(tenant, device);
        let Some(shard) = shard.get() else {
            let key = (tenant.to_owned(), platen_ids::shard(tenant, device));
            self.shards
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&key);
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Shard::Some(devices) = &mut *shard {
            if !open {
                devices.remove(&hash(device));
            } else if devices.len() < MAX_OPEN {
                devices.insert(hash(device));
            } else {
                *shard = Shard::TooMany;
            }
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn shard(&self, tenant: &str, device: &str) -> Slot {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if shards.len() >= MAX_SHARDS {
            shards.clear();
        }
        shards
            .entry((tenant.to_owned(), platen_ids::shard(tenant, device)))
            .or_default()
            .clone()
    }

    async fn read(&self, tenant: &str, device: &str) -> Result<Mutex<Shard>, Error> {
        let partition = OpenTransfers::key((tenant, device)).partition;
        let (mut devices, mut range) = (HashSet::new(), Range::default());
        loop {
            let page = self
                .store
                .scan_partition::<OpenTransfers>(&partition, range)
                .await?;
            for (clustering, _) in &page.rows {
                if let [Part::Text(device)] = &clustering[..] {
                    devices.insert(hash(device));
                }
            }
            match page.next {
                _ if devices.len() > MAX_OPEN => return Ok(Mutex::new(Shard::TooMany)),
                Some(cursor) => {
                    range = Range {
                        cursor: Some(cursor),
                        ..Range::default()
                    }
                }
                None => return Ok(Mutex::new(Shard::Some(devices))),
            }
        }
    }
}

/// Two devices of one hash cost a read, nothing else.
fn hash(device: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    hasher.finish()
}
