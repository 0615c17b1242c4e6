//! The stream of a tenant's events, read off the log: each with the cursor after it, so that whoever comes back misses nothing.

use crate::{api::Api, caller::Caller, refusal::Refusal};
use futures::{Stream, stream};
use platen_bus::{Follower, Positions, Record};
use platen_fleet::{device, operation::without_secrets};
use platen_ids::TenantId;
use platen_proto::{
    event::v1::{Event, event},
    report::v1::{Report, report::Body},
    topic::Kind,
};
use prost::Message;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Records taken at a time. What a slow reader has not taken stays on the log, not in memory.
const BATCH: usize = 256;

/// How often a stream asks whether its token still holds.
const RECHECK: Duration = Duration::from_secs(15);

/// A running watch.
pub(crate) struct Watch {
    follower: Box<dyn Follower>,
    /// After the last event that was handed out.
    positions: Positions,
    ready: VecDeque<Event>,
    /// What the keys of the tenant's records begin with.
    prefix: String,
    kinds: HashSet<i32>,
    caller: Caller,
    recheck: Instant,
    api: Arc<Api>,
}

impl Watch {
    /// A watch over `tenant` for `kinds` (empty: all), beginning where the follower stands.
    pub(crate) fn new(
        follower: Box<dyn Follower>,
        tenant: &TenantId,
        kinds: HashSet<i32>,
        caller: Caller,
        api: Arc<Api>,
    ) -> Self {
        let positions = follower.positions();
        Self {
            follower,
            positions,
            ready: VecDeque::new(),
            prefix: format!("{tenant}/"),
            kinds,
            caller,
            recheck: Instant::now() + RECHECK,
            api,
        }
    }

    /// The events; ends with the reason why.
    pub(crate) fn events(self) -> impl Stream<Item = Result<Event, Refusal>> + Send {
        stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(refusal) => Some((Err(refusal), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Event, Refusal> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            tokio::select! {
                () = self.api.shutdown.cancelled() => {
                    let message = "the server ends: resume with the last cursor".to_owned();
                    return Err(Refusal::Unavailable { code: "SHUTTING_DOWN", message });
                }
                () = tokio::time::sleep_until(self.recheck) => {
                    // If the store cannot tell, the token still holds as far as is known.
                    let holder = self.api.authenticator.holder(&self.caller.token, Api::now_us()).await;
                    if let Err(refusal @ Refusal::Unauthenticated(_)) = holder {
                        return Err(refusal);
                    }
                    self.recheck = Instant::now() + RECHECK;
                }
                records = self.follower.next(BATCH) => for record in records? {
                    self.pass(&record);
                },
            }
        }
    }

    /// Moves past a record, with its event if it has one for this watch.
    fn pass(&mut self, record: &Record) {
        let place = (record.record.topic, record.partition);
        self.positions.0.insert(place, record.offset + 1);
        if !record.record.key.starts_with(&self.prefix) {
            return;
        }
        let Some(event) = event_of(record) else {
            return;
        };
        if self.kinds.is_empty() || self.kinds.contains(&event.kind) {
            self.ready.push_back(Event {
                cursor: self.positions.encode(),
                ..event
            });
        }
    }
}

/// What customers see of a record.
fn event_of(record: &Record) -> Option<Event> {
    match record.record.kind {
        Kind::Inform | Kind::Transfer | Kind::Request => record
            .report()
            .ok()
            .and_then(|report| of_report(&record.record.id, report)),
        Kind::Event => Event::decode(record.record.payload.clone()).ok().map(shown),
        Kind::Done | Kind::Woken | Kind::Notice | Kind::Wake | Kind::Device => None,
    }
}

/// An event as it leaves: an operation in it is shown as the operation itself is.
pub(crate) fn shown(mut event: Event) -> Event {
    if let Some(event::Data::Operation(operation)) = &mut event.data {
        operation.request = operation.request.take().map(without_secrets);
    }
    event
}

fn of_report(id: &str, report: &Report) -> Option<Event> {
    let (kind, data) = match report.body.as_ref()? {
        Body::Inform(inform) => (event::Kind::Inform, event::Data::Inform(inform.clone())),
        Body::TransferComplete(transfer) => (
            event::Kind::TransferComplete,
            event::Data::TransferComplete(transfer.clone()),
        ),
        Body::DeviceRequest(request) => (
            event::Kind::DeviceRequest,
            event::Data::DeviceRequest(request.clone()),
        ),
        Body::CommandDone(_) | Body::Woken(_) => return None,
    };
    Some(Event {
        id: id.to_owned(),
        time: device::timestamp(report.time_us),
        device: device::name(&report.tenant, &report.device),
        kind: kind.into(),
        cursor: String::new(),
        data: Some(data),
    })
}
