//! Faults at random for as long as one wants, and every promise kept.

use crate::{backends::Backends, deployment::Form, fleet::Plan, trial::Trial};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use std::time::{Duration, Instant};

/// A number from the environment of the test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other configuration"
)]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, but is {text:?}")))
}

/// Breaks things for a while, and compares.
async fn suffer(name: &str, form: Form, plan: Plan, times: Times) {
    let asked = number("PLATEN_FAULT_SECONDS");
    let time = Duration::from_secs(asked.map_or(times.short, |asked| asked / times.share));
    // The short run is the same every time; a long one looks elsewhere each time.
    let seed =
        number("PLATEN_FAULT_SEED").unwrap_or_else(|| asked.map_or(1, |_| rand::rng().next_u64()));
    println!("{name}: {time:?}, PLATEN_FAULT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut trial = Trial::begin(name, form, plan, seed).await;
    // The first sessions are longer: devices are installed.
    trial.fleet.rate(Duration::from_secs(4)).await;
    let before = trial.fleet.rate(Duration::from_secs(4)).await;
    // Nothing stands still for longer than a fifth of the run.
    let parts = trial.parts((time / 5).min(Duration::from_secs(40)));
    let begin = Instant::now();
    while begin.elapsed() < time {
        let fault = parts.draw(&mut random);
        trial.recorder.remark(&parts.tell(&fault).to_string());
        trial.inflict(&fault).await;
        // The next one may come before this one is over.
        let pause = Duration::from_millis(random.random_range(0..4_000));
        tokio::time::sleep(pause).await;
    }
    trial.deployment.heal().await;
    let recovered = trial
        .fleet
        .reaches(0.9 * before, Duration::from_secs(60))
        .await;
    trial.recorder.remark(&format!(
        "{before:.1} sessions per second before, nine tenths of it again after {:.1} s",
        recovered.as_secs_f64()
    ));
    trial.verdict().await;
}

/// How long a run is, in seconds.
struct Times {
    /// Unless something else is asked for.
    short: u64,
    /// Else this part (one half, one third, …) of what `PLATEN_FAULT_SECONDS` says.
    share: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_keeps_its_promises() {
    let plan = Plan {
        devices: 40,
        pace: Duration::from_millis(800),
        operations: Duration::from_millis(300),
    };
    let times = Times {
        short: 15,
        share: 6,
    };
    let form = Form::Embedded { data: None };
    suffer("one_process", form, plan, times).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_keep_their_promises() {
    let name = "many_processes";
    let Some(backends) = Backends::from_environment(name) else {
        return;
    };
    // Little more than half of what two processors take with all of it on them: a server without reserves never catches up.
    let plan = Plan {
        devices: 200,
        pace: Duration::from_secs(10),
        operations: Duration::from_millis(500),
    };
    backends.whole().await;
    let times = Times {
        short: 60,
        share: 1,
    };
    suffer(name, Form::Distributed(backends), plan, times).await;
}
