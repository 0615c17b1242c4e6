//! `platen.event.v1.EventService`: what happened, per device from the store and for a tenant as a stream.

use crate::{api::Api, caller::Caller, names, page, refusal::Refusal, registration, watch};
use futures::{Stream, StreamExt};
use platen_bus::{From as Begin, Positions};
use platen_ids::{DeviceId, TenantId};
use platen_proto::{
    event::v1::{
        Event, ListEventsRequest, ListEventsResponse, WatchEventsRequest,
        event_service_server::EventService,
    },
    topic::Topic,
};
use platen_store::{
    table::{Part, Range},
    tables::Events,
};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, pin::Pin, sync::Arc};
use tonic::{Request, Response, Status};

/// Most rows that one page looks at: a kind that seldom happens gives short pages rather than long waits.
const MAX_ROWS: usize = 5_000;

/// Rows read at a time: each may have 256 KiB.
const ROWS: usize = 50;

/// Topics that carry what customers see.
const TOPICS: &[Topic] = &[Topic::Reports, Topic::Changes, Topic::Readings];

/// Events.
#[derive(Debug, Clone)]
pub(crate) struct EventApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl EventService for EventApi {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let (tenant, device) = names::device(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        registration::must_exist(&self.0.store, &tenant, &device).await?;
        Ok(Response::new(self.list(&tenant, &device, &asked).await?))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = Caller::of(&request)?;
        let place = crate::guard::Place::of(&request);
        let WatchEventsRequest {
            parent,
            cursor,
            kinds,
        } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        let begin = if cursor.is_empty() {
            Begin::Now
        } else {
            let positions = Positions::decode(&cursor)
                .map_err(|error| Refusal::field("cursor", error.to_string()))?;
            Begin::Positions(positions)
        };
        let follower = self
            .0
            .log
            .follow(TOPICS, begin)
            .await
            .map_err(Refusal::from)?;
        let watch = watch::Watch::new(
            follower,
            &tenant,
            kinds.into_iter().collect(),
            caller,
            Arc::clone(&self.0),
        );
        // The place among the streams is given back when the stream ends.
        let events = watch.events().map(move |event| {
            let _held = &place;
            event.map_err(Status::from)
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    month: u64,
    /// Only rows below it.
    below: u64,
}

impl EventApi {
    async fn list(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        asked: &ListEventsRequest,
    ) -> Result<ListEventsResponse, Refusal> {
        let kinds: HashSet<i32> = asked.kinds.iter().copied().collect();
        let mut sorted: Vec<i32> = kinds.iter().copied().collect();
        sorted.sort_unstable();
        let query = ["events", asked.parent.as_str(), &format!("{sorted:?}")];
        let size = page::size(asked.page_size, 50, 500)?;
        let (registration, observed) = registration::read(&self.0.store, tenant, device).await?;
        let registered_us = registration.map(|row| row.value.create_time_us);
        let informed_us = observed.as_ref().map(|observed| observed.first_inform_us);
        let first_us = [registered_us, informed_us]
            .into_iter()
            .flatten()
            .filter(|time| *time > 0)
            .min();
        let Some(first_month) = first_us.map(month_of) else {
            return Ok(ListEventsResponse::default());
        };
        let last_us = observed.map_or(0, |observed| observed.last_inform_us);
        let mut at = page::position(&query, &asked.page_token)?
            // A record may be a little younger than this clock says.
            .unwrap_or_else(|| Position {
                month: month_of(Api::now_us().max(last_us)),
                below: u64::MAX,
            });
        let mut events = Vec::new();
        let mut looked_at = 0;
        let mut bytes = 0;
        while at.month >= first_month {
            let range = Range {
                below: Some(Part::Number(at.below)),
                descending: true,
                limit: ROWS,
                ..Range::default()
            };
            let page = self
                .0
                .store
                .scan::<Events>((tenant.as_str(), device.as_str(), at.month, 0), range)
                .await?;
            for (key, event) in page.rows {
                if let [Part::Number(position)] = key.as_slice() {
                    at.below = *position;
                }
                looked_at += 1;
                if kinds.is_empty() || kinds.contains(&event.kind) {
                    bytes += event.encoded_len();
                    events.push(watch::shown(event));
                }
                if events.len() == size || looked_at >= MAX_ROWS || bytes > page::MAX_BYTES {
                    return Ok(ListEventsResponse {
                        events,
                        next_page_token: page::token(&query, &at)?,
                    });
                }
            }
            if page.next.is_none() {
                at = Position {
                    month: month_before(at.month),
                    below: u64::MAX,
                };
            }
        }
        Ok(ListEventsResponse {
            events,
            next_page_token: String::new(),
        })
    }
}

/// The month (UTC) of a time, as yyyymm.
fn month_of(time_us: i64) -> u64 {
    let time = jiff::Timestamp::from_microsecond(time_us).unwrap_or_default();
    let date = jiff::tz::Offset::UTC.to_datetime(time);
    u64::try_from(i64::from(date.year()) * 100 + i64::from(date.month())).unwrap_or_default()
}

/// The month before a month.
const fn month_before(month: u64) -> u64 {
    if month % 100 <= 1 {
        (month / 100).saturating_sub(1) * 100 + 12
    } else {
        month - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other() {
        assert_eq!(
            month_of(
                "2026-11-30T23:59:59Z"
                    .parse::<jiff::Timestamp>()
                    .unwrap()
                    .as_microsecond()
            ),
            202_611
        );
        assert_eq!(month_before(202_611), 202_610);
        assert_eq!(month_before(202_601), 202_512);
    }
}
