//! How long reading an Inform and writing its answer takes: `cargo bench -p platen-cwmp --bench envelope`.
//!
//! Plain timing: the median of many rounds, since the mean would measure the neighbours.

use std::{hint::black_box, time::Duration};

use platen_cwmp::{
    acs::{Answer, Limits, Post, Session},
    date_time::DateTime,
    event_code::EventCode,
    rpc::{CpeRequest, DeviceIdStruct, Event, Inform, ParameterValue, ValueType},
    soap::{CpeMessage, Envelope, Header, Version},
};

const ROUNDS: usize = 2_000;
const BATCH: u32 = 16;

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn main() {
    for parameters in [10, 30] {
        let body = inform(parameters);
        let median = median(|| {
            let text = std::str::from_utf8(&body).expect("invariant: we wrote it");
            black_box(Envelope::read_from_cpe(black_box(text)).expect("invariant: we wrote it"));
        });
        println!(
            "read an Inform of {parameters} parameters, {} bytes: {median:.1} µs",
            body.len()
        );
        let median = self::median(|| {
            black_box(
                Post::read(black_box(&body), Some("text/xml")).expect("invariant: we wrote it"),
            );
        });
        println!("  the same as a POST, with its fingerprint: {median:.1} µs");
    }

    let post = Post::read(&inform(10), None).expect("invariant: we wrote it");
    let mut session = Session::new("bench", Limits::default());
    session
        .receive(post)
        .expect("invariant: an Inform comes first");
    let median = median(|| {
        black_box(
            session
                .clone()
                .reply(Answer::Usual)
                .expect("invariant: an answer is due"),
        );
    });
    println!("write an InformResponse, with a copy of the session: {median:.1} µs");
}

/// Microseconds that `work` takes.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn median(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = std::time::Instant::now();
            (0..BATCH).for_each(|_| work());
            start.elapsed() / BATCH
        })
        .collect();
    times.sort_unstable();
    times
        .get(ROUNDS / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn inform(parameters: usize) -> Vec<u8> {
    let parameters = (0..parameters)
        .map(|n| {
            let name = format!("Device.Services.MFPService.1.Supplies.Supply.{n}.Description");
            ParameterValue::new(name, format!("Toner & Drum <Black> {n}"), ValueType::String)
        })
        .collect();
    let inform = Inform {
        device_id: DeviceIdStruct {
            manufacturer: "Example".to_owned(),
            oui: "00D09E".to_owned(),
            product_class: "LaserPro-9".to_owned(),
            serial_number: "SN1".to_owned(),
        },
        events: vec![Event::new(EventCode::Boot), Event::new(EventCode::Periodic)],
        current_time: DateTime::from_text("2026-11-23T03:00:00Z"),
        parameters,
        ..Inform::default()
    };
    let message = CpeMessage::Request(CpeRequest::Inform(inform));
    let envelope = Envelope {
        namespace: Version::V1_4.namespace(),
        header: Header::with_id("1"),
        message,
    };
    envelope
        .to_xml()
        .expect("invariant: nothing in it is unwritable")
        .into_bytes()
}
