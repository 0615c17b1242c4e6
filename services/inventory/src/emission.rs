//! What the service writes and appends about a record: rows of events, events for customers, device rows.

use platen_bus::{NewRecord, Record, derived};
use platen_fleet::device;
use platen_proto::{
    event::v1::{
        Event, Quarantined,
        event::{Data, Kind},
    },
    report::v1::{DeviceRow, Report, report::Body},
    store::v1::{Observed, Registration},
    topic::{self, Topic},
};
use platen_store::{rows, table::Write, tables::Events};
use prost::Message;

/// Places for rows that one record leaves in a device's list of events.
const PLACES: u64 = 4;

/// What customers see of a report; `None` for answers to commands, whose owner tells what became of the operation.
pub(crate) fn of_report(record: &Record, report: &Report) -> Option<Event> {
    let (kind, data) = match report.body.as_ref()? {
        Body::Inform(inform) => (Kind::Inform, Data::Inform(inform.clone())),
        Body::TransferComplete(transfer) => (
            Kind::TransferComplete,
            Data::TransferComplete(transfer.clone()),
        ),
        Body::DeviceRequest(request) => (Kind::DeviceRequest, Data::DeviceRequest(request.clone())),
        Body::CommandDone(_) | Body::Woken(_) => return None,
    };
    let device = device::name(&report.tenant, &report.device);
    Some(Event {
        id: record.record.id.clone(),
        time: device::timestamp(report.time_us),
        device,
        kind: kind.into(),
        cursor: String::new(),
        data: Some(data),
    })
}

/// A change of a device's life, caused by a record.
pub(crate) fn change(
    record: &Record,
    tenant: &str,
    id: &str,
    kind: Kind,
    reason: Option<&str>,
) -> Event {
    Event {
        id: derived_id(record, kind.as_str_name()),
        time: device::timestamp(record.record.time_us),
        device: device::name(tenant, id),
        kind: kind.into(),
        cursor: String::new(),
        data: reason.map(|reason| {
            Data::Quarantined(Quarantined {
                reason: reason.to_owned(),
            })
        }),
    }
}

/// The row of an event. The event of the record itself comes first in time, the changes that it caused after it.
///
/// A record has [`PLACES`] places, in the order of versions; which one depends on the kind alone, so that the same event has the same row for ever.
pub(crate) fn row(record: &Record, tenant: &str, id: &str, event: &Event) -> Write {
    let place = match event.kind() {
        Kind::DeviceQuarantined => 1,
        Kind::DeviceOnline => 2,
        _ => 0,
    };
    let position = record.version.saturating_mul(PLACES) + place;
    rows::write::<Events>(
        (tenant, id, month(record.record.time_us), position),
        event,
        record.version,
    )
}

/// The record that tells customers of a change.
pub(crate) fn announcement(record: &Record, event: &Event) -> NewRecord {
    NewRecord {
        topic: Topic::Changes,
        shard: record.record.shard,
        key: record.record.key.clone(),
        kind: topic::Kind::Event,
        id: event.id.clone(),
        time_us: record.record.time_us,
        payload: event.encode_to_vec().into(),
    }
}

/// The record that tells the fleet index of a device.
pub(crate) fn device_row(
    record: &Record,
    tenant: &str,
    registration: Option<&Registration>,
    observed: Option<&Observed>,
) -> NewRecord {
    let row = DeviceRow {
        tenant: tenant.to_owned(),
        device: Some(device::resource(
            registration,
            observed,
            record.record.time_us,
        )),
        periodic_inform_interval: observed.map_or(0, |observed| observed.periodic_inform_interval),
    };
    NewRecord {
        topic: Topic::Devices,
        shard: record.record.shard,
        key: record.record.key.clone(),
        kind: topic::Kind::Device,
        id: derived_id(record, "DEVICE_ROW"),
        time_us: record.record.time_us,
        payload: row.encode_to_vec().into(),
    }
}

/// The id of what a record caused.
fn derived_id(record: &Record, what: &str) -> String {
    derived::id(&[&record.record.key, &record.record.id, what])
}

/// The month (UTC) of a time, as yyyymm.
pub(crate) fn month(time_us: i64) -> u64 {
    let time = jiff::Timestamp::from_microsecond(time_us).unwrap_or_default();
    let date = jiff::tz::Offset::UTC.to_datetime(time);
    u64::try_from(i64::from(date.year()) * 100 + i64::from(date.month())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_utc() {
        for (time, expect) in [
            ("2026-11-30T23:59:59Z", 202_611),
            ("2026-12-01T00:00:00Z", 202_612),
            ("2027-01-01T00:00:00Z", 202_701),
        ] {
            assert_eq!(
                month(time.parse::<jiff::Timestamp>().unwrap().as_microsecond()),
                expect
            );
        }
    }
}
