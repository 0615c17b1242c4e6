//! `platen.metering.v1.ReadingService`: the metering ledger of a device.

use crate::{api::Api, caller::Caller, names, page, refusal::Refusal, registration};
use platen_datamodel::meter::Meter;
use platen_fleet::device::timestamp;
use platen_ids::{DeviceId, TenantId};
use platen_proto::{
    metering::v1::{
        ListReadingsRequest, ListReadingsResponse, Reading, VerifyLedgerRequest,
        VerifyLedgerResponse, reading_service_server::ReadingService,
    },
    store::v1::ReadingSet,
};
use platen_store::{
    ledger::Verifier,
    table::{Part, Range},
    tables::{LedgerHeads, Readings},
};
use serde::{Deserialize, Serialize};
use std::{str::FromStr, sync::Arc};
use tonic::{Request, Response, Status};

/// Sets read at a time.
const SETS: usize = 500;

/// Most sets that one page looks at: a meter that a device seldom reports gives short pages rather than long waits.
const MAX_SETS: usize = 5_000;

/// Readings of a device.
#[derive(Debug, Clone)]
pub(crate) struct ReadingApi(pub(crate) Arc<Api>);

/// Where a page ended: within or after a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    year: u64,
    sequence: u64,
    /// Readings of that set that were on a page already.
    passed: usize,
}

#[tonic::async_trait]
impl ReadingService for ReadingApi {
    async fn list_readings(
        &self,
        request: Request<ListReadingsRequest>,
    ) -> Result<Response<ListReadingsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let (tenant, device) = names::device(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        registration::must_exist(&self.0.store, &tenant, &device).await?;
        if !asked.meter.is_empty() && Meter::from_str(&asked.meter).is_err() {
            let known: Vec<&str> = Meter::ALL.iter().map(|meter| meter.name()).collect();
            return Err(
                Refusal::field("meter", format!("must be one of {}", known.join(", "))).into(),
            );
        }
        Ok(Response::new(self.list(&tenant, &device, &asked).await?))
    }

    async fn verify_ledger(
        &self,
        request: Request<VerifyLedgerRequest>,
    ) -> Result<Response<VerifyLedgerResponse>, Status> {
        let caller = Caller::of(&request)?;
        let parent = request.into_inner().parent;
        let (tenant, device) = names::device(&parent)?;
        caller.enters(&tenant, &parent)?;
        registration::must_exist(&self.0.store, &tenant, &device).await?;
        Ok(Response::new(self.verify(&tenant, &device).await?))
    }
}

impl ReadingApi {
    async fn list(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        asked: &ListReadingsRequest,
    ) -> Result<ListReadingsResponse, Refusal> {
        let query = ["readings", asked.parent.as_str(), asked.meter.as_str()];
        let size = page::size(asked.page_size, 100, 1_000)?;
        let begin = match page::position(&query, &asked.page_token)? {
            Some(position) => position,
            None => match self.newest(tenant, device).await? {
                Some(position) => position,
                None => return Ok(ListReadingsResponse::default()),
            },
        };
        let mut readings = Vec::new();
        let mut at = begin;
        let mut looked_at = 0;
        while at.sequence > 0 {
            let below = Some(Part::Number(at.sequence + 1));
            let range = Range {
                below,
                descending: true,
                limit: SETS,
                ..Range::default()
            };
            let page = self
                .0
                .store
                .scan::<Readings>((tenant.as_str(), device.as_str(), at.year, 0), range)
                .await?;
            if page.rows.is_empty() {
                // The chain goes on in an earlier year; it has no year 0, so this ends even if a row is missing.
                let Some(year) = at.year.checked_sub(1).filter(|year| *year >= FIRST_YEAR) else {
                    break;
                };
                at.year = year;
                continue;
            }
            for (_, set) in page.rows {
                let passed = if set.sequence == at.sequence {
                    at.passed
                } else {
                    0
                };
                let mut left = readings_of(&set, &asked.meter).into_iter().skip(passed);
                let room = size - readings.len();
                let taken: Vec<Reading> = left.by_ref().take(room).collect();
                let passed = passed + taken.len();
                readings.extend(taken);
                looked_at += 1;
                let more_in_set = left.next().is_some();
                at = if more_in_set {
                    Position {
                        sequence: set.sequence,
                        passed,
                        ..at
                    }
                } else {
                    Position {
                        sequence: set.sequence - 1,
                        passed: 0,
                        ..at
                    }
                };
                if more_in_set
                    || ((readings.len() == size || looked_at >= MAX_SETS) && at.sequence > 0)
                {
                    return Ok(ListReadingsResponse {
                        readings,
                        next_page_token: page::token(&query, &at)?,
                    });
                }
            }
        }
        Ok(ListReadingsResponse {
            readings,
            next_page_token: String::new(),
        })
    }

    /// The last set of a device's chain; `None`: it has none.
    async fn newest(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<Option<Position>, Refusal> {
        let head = self
            .0
            .store
            .get::<LedgerHeads>((tenant.as_str(), device.as_str()))
            .await?;
        let Some(head) = head.filter(|head| head.sequence > 0) else {
            return Ok(None);
        };
        let year = year_of(
            head.last
                .map_or_else(Api::now_us, |last| last.receive_time_us),
        );
        Ok(Some(Position {
            year,
            sequence: head.sequence,
            passed: 0,
        }))
    }

    async fn verify(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<VerifyLedgerResponse, Refusal> {
        let head = self
            .0
            .store
            .get::<LedgerHeads>((tenant.as_str(), device.as_str()))
            .await?
            .unwrap_or_default();
        let mut verifier = Verifier::new(tenant.as_str(), device.as_str());
        let broken = |verifier: &Verifier<'_>, sequence: u64| VerifyLedgerResponse {
            sets: verifier.sets(),
            intact: false,
            first_broken_sequence: sequence,
            head: crate::hex(verifier.head()),
        };
        let this_year = year_of(Api::now_us());
        let last_year = head
            .last
            .as_ref()
            .map_or(this_year, |last| year_of(last.receive_time_us))
            .max(this_year);
        // From the device's first year on: years without a row cost one empty read each.
        let first = registration::read(&self.0.store, tenant, device)
            .await?
            .1
            .map_or(0, |observed| observed.first_inform_us);
        for year in year_of(first).max(FIRST_YEAR)..=last_year {
            let mut from = 0;
            loop {
                let range = Range {
                    from: Some(Part::Number(from)),
                    limit: SETS,
                    ..Range::default()
                };
                let page = self
                    .0
                    .store
                    .scan::<Readings>((tenant.as_str(), device.as_str(), year, 0), range)
                    .await?;
                for (_, set) in &page.rows {
                    if let Err(error) = verifier.check(set) {
                        return Ok(broken(&verifier, error.sequence));
                    }
                    from = set.sequence + 1;
                }
                if page.next.is_none() {
                    break;
                }
            }
        }
        // Sets that the head knows and the ledger does not were taken off the end.
        if verifier.sets() < head.sequence {
            return Ok(broken(&verifier, verifier.sets() + 1));
        }
        if verifier.sets() == head.sequence && verifier.head() != &head.hash[..] {
            return Ok(broken(&verifier, head.sequence));
        }
        Ok(VerifyLedgerResponse {
            sets: verifier.sets(),
            intact: true,
            first_broken_sequence: 0,
            head: crate::hex(verifier.head()),
        })
    }
}

/// No ledger is older than Platen.
const FIRST_YEAR: u64 = 2020;

/// The calendar year (UTC) of a time, by whose receive time a set finds its partition.
fn year_of(time_us: i64) -> u64 {
    let time = jiff::Timestamp::from_microsecond(time_us).unwrap_or_default();
    u64::try_from(jiff::tz::Offset::UTC.to_datetime(time).year()).unwrap_or_default()
}

/// The readings of a set, of one meter or all.
fn readings_of(set: &ReadingSet, meter: &str) -> Vec<Reading> {
    let hash = crate::hex(&set.hash);
    set.values
        .iter()
        .filter(|value| meter.is_empty() || value.meter == meter)
        .map(|value| Reading {
            meter: value.meter.clone(),
            value: value.value,
            unit: Meter::from_str(&value.meter)
                .map(|meter| meter.unit().name().to_owned())
                .unwrap_or_default(),
            time: timestamp(set.reading_time_us),
            source: value.source.clone(),
            quality: value.quality,
            sequence: set.sequence,
            hash: hash.clone(),
            until: timestamp(set.until_us),
            flags: value.flags.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_utc() {
        for (time, year) in [
            ("2026-12-31T23:59:59Z", 2026),
            ("2027-01-01T00:00:00Z", 2027),
            ("1970-01-01T00:00:00Z", 1970),
        ] {
            assert_eq!(
                year_of(time.parse::<jiff::Timestamp>().unwrap().as_microsecond()),
                year
            );
        }
    }
}
