//! One attempt to bring an artifact to a device, as a state machine without I/O.
//!
//! `PENDING → ISSUED → ACCEPTED → TRANSFERRED → verified`; it ends once, from any state, and no step leads back.

use platen_proto::{
    device::v1::CwmpFault,
    event::v1::TransferComplete,
    operation::v1::OperationResult,
    store::v1::{Attempt, attempt::State},
};
use platen_store::progress::End;

/// What happened to an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening<'a> {
    /// The device took the Download. `later_us`: it will report the end (Status 1), and was allowed to begin after this delay.
    Taken {
        /// `None`: the transfer is over (Status 0).
        later_us: Option<i64>,
    },
    /// The device refused it.
    Refused(&'a CwmpFault),
    /// It could not be sent, or its answer could not be read: why.
    NotSent(&'a str),
    /// A session took it and ended without an answer; if the device took it, it was allowed to begin after this delay (µs).
    Unanswered {
        /// The delay of the Download, or the end of the last window.
        delay_us: i64,
    },
    /// The device reports the end of the transfer.
    Completed(&'a TransferComplete),
    /// The device says what it runs, or at least that it has started.
    Seen {
        /// Its software version, if it says that.
        version: Option<&'a str>,
        /// It says `1 BOOT`.
        booted: bool,
        /// It says `0 BOOTSTRAP`.
        forgot: bool,
    },
    /// A deadline may be over.
    Overdue,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Nothing.
    Stays,
    /// The attempt goes on like this.
    GoesOn(Attempt),
    /// The attempt is over. The result holds what is known beyond what earlier answers brought.
    Ends(Box<End>),
}

/// How long a device has (µs).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From taking a Download to its end.
    pub(crate) transfer_us: i64,
    /// From the end of the transfer to the promised version.
    pub(crate) verify_us: i64,
}

/// Decides.
pub(crate) fn next(
    attempt: &Attempt,
    happening: Happening<'_>,
    now_us: i64,
    patience: Patience,
) -> Next {
    let ends = |end| Next::Ends(Box::new(end));
    let sent = match attempt.state() {
        State::Issued => attempt.unanswered,
        State::Accepted | State::Transferred => true,
        State::Unspecified | State::Pending | State::Verified | State::Failed => false,
    };
    match (attempt.state(), happening) {
        (
            State::Issued,
            Happening::Taken {
                later_us: Some(delay_us),
            },
        ) => goes_on(
            attempt,
            State::Accepted,
            now_us + delay_us + patience.transfer_us,
        ),
        (State::Issued, Happening::Taken { later_us: None }) => {
            transferred(attempt, OperationResult::default(), now_us, patience)
        }
        (State::Issued, Happening::Refused(fault)) => {
            ends(End::fault(fault, OperationResult::default()))
        }
        (State::Issued, Happening::NotSent(why)) => ends(End::failed("COMMAND_FAILED", why)),
        (State::Issued, Happening::Unanswered { delay_us }) if !attempt.unanswered => {
            Next::GoesOn(Attempt {
                unanswered: true,
                deadline_us: now_us + delay_us + patience.transfer_us,
                ..attempt.clone()
            })
        }
        (State::Issued | State::Accepted | State::Transferred, Happening::Completed(report)) => {
            let result = OperationResult {
                start_time: report.start_time,
                complete_time: report.complete_time,
                ..OperationResult::default()
            };
            match report.fault.as_ref().filter(|fault| fault.code != 0) {
                Some(fault) => ends(End::fault(fault, result)),
                None if attempt.state() == State::Transferred => Next::Stays,
                None => transferred(attempt, result, now_us, patience),
            }
        }
        // Whoever brought it there: the device has what it shall have.
        (
            State::Issued | State::Accepted | State::Transferred,
            Happening::Seen {
                version: Some(version),
                ..
            },
        ) if !attempt.version.is_empty() && version == attempt.version => {
            ends(verified(version, OperationResult::default()))
        }
        // A device that starts over forgets its transfers (EVT-06).
        (_, Happening::Seen { forgot: true, .. }) if sent => ends(End::failed(
            "ABORTED_BY_BOOTSTRAP",
            "the device has started over (0 BOOTSTRAP) and does not run the artifact's version",
        )),
        // Some devices boot more than once: the deadline decides, not the first boot.
        (
            State::Transferred,
            Happening::Seen {
                version: Some(other),
                booted: true,
                ..
            },
        ) if other != attempt.other_version => Next::GoesOn(Attempt {
            other_version: other.to_owned(),
            ..attempt.clone()
        }),
        (_, Happening::Overdue)
            if sent && attempt.deadline_us > 0 && now_us >= attempt.deadline_us =>
        {
            ends(overdue(attempt))
        }
        _ => Next::Stays,
    }
}

/// The end of an attempt whose device runs the artifact's version.
pub(crate) fn verified(version: &str, result: OperationResult) -> End {
    End::Succeeded(OperationResult {
        software_version: Some(version.to_owned()),
        ..result
    })
}

/// An end, with what the device had answered before.
pub(crate) fn with_answer(end: End, answer: OperationResult) -> End {
    let joined = |added: OperationResult| OperationResult {
        status: added.status.or(answer.status),
        start_time: added.start_time.or(answer.start_time),
        complete_time: added.complete_time.or(answer.complete_time),
        software_version: added.software_version.or(answer.software_version),
        ..answer
    };
    match end {
        End::Succeeded(result) => End::Succeeded(joined(result)),
        End::Failed(error, result) => End::Failed(error, joined(result)),
        End::Cancelled | End::Expired => end,
    }
}

/// The file is there: what is missing is that the device says so, if it can.
fn transferred(
    attempt: &Attempt,
    result: OperationResult,
    now_us: i64,
    patience: Patience,
) -> Next {
    if attempt.version.is_empty() {
        return Next::Ends(Box::new(End::Succeeded(result)));
    }
    goes_on(attempt, State::Transferred, now_us + patience.verify_us)
}

fn goes_on(attempt: &Attempt, state: State, deadline_us: i64) -> Next {
    Next::GoesOn(Attempt {
        state: state.into(),
        deadline_us,
        unanswered: false,
        ..attempt.clone()
    })
}

fn overdue(attempt: &Attempt) -> End {
    let version = &attempt.version;
    match attempt.state() {
        State::Accepted => End::failed(
            "TIMED_OUT",
            "the device took the download and has not reported its end in time",
        ),
        State::Transferred if attempt.other_version.is_empty() => End::failed(
            "TIMED_OUT",
            format!(
                "the transfer is over, and the device has not reported version {version} in time"
            ),
        ),
        State::Transferred => {
            let other = &attempt.other_version;
            End::failed(
                "VERSION_MISMATCH",
                format!(
                    "the transfer succeeded, and the device reports version {other} instead of {version}"
                ),
            )
        }
        _ => End::unknown(
            "the session ended before the device answered, and it has reported nothing of the transfer since",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience {
        transfer_us: 100,
        verify_us: 50,
    };

    fn attempt(state: State) -> Attempt {
        Attempt {
            id: "a".into(),
            version: "2".into(),
            state: state.into(),
            deadline_us: 10,
            ..Attempt::default()
        }
    }

    fn complete(code: i32) -> TransferComplete {
        TransferComplete {
            fault: Some(CwmpFault {
                code,
                ..CwmpFault::default()
            }),
            ..TransferComplete::default()
        }
    }

    fn seen(version: &str, booted: bool, forgot: bool) -> Happening<'_> {
        Happening::Seen {
            version: (!version.is_empty()).then_some(version),
            booted,
            forgot,
        }
    }

    /// What follows, in a word: a state, or how it ended.
    fn word(next: &Next) -> String {
        match next {
            Next::Stays => "stays".to_owned(),
            Next::GoesOn(attempt) => attempt.state().as_str_name().to_owned(),
            Next::Ends(end) => match &**end {
                End::Succeeded(_) => "SUCCEEDED".to_owned(),
                End::Failed(error, _) => error.code.clone(),
                End::Cancelled => "CANCELLED".to_owned(),
                End::Expired => "EXPIRED".to_owned(),
            },
        }
    }

    #[test]
    fn every_step_of_a_transfer() {
        let (fine, bad) = (complete(0), complete(9016));
        let refusal = CwmpFault {
            code: 9010,
            ..CwmpFault::default()
        };
        let sent = || Attempt {
            unanswered: true,
            ..attempt(State::Issued)
        };
        let other = || Attempt {
            other_version: "1".into(),
            ..attempt(State::Transferred)
        };
        let opaque = |state| Attempt {
            version: String::new(),
            ..attempt(state)
        };
        for (what, attempt, happening, expected) in [
            (
                "taken for later",
                attempt(State::Issued),
                Happening::Taken { later_us: Some(0) },
                "ACCEPTED",
            ),
            (
                "taken at once",
                attempt(State::Issued),
                Happening::Taken { later_us: None },
                "TRANSFERRED",
            ),
            (
                "taken at once, nothing to verify",
                opaque(State::Issued),
                Happening::Taken { later_us: None },
                "SUCCEEDED",
            ),
            (
                "refused",
                attempt(State::Issued),
                Happening::Refused(&refusal),
                "CWMP_FAULT",
            ),
            (
                "not sent",
                attempt(State::Issued),
                Happening::NotSent("no"),
                "COMMAND_FAILED",
            ),
            (
                "a second answer",
                attempt(State::Accepted),
                Happening::Taken { later_us: None },
                "stays",
            ),
            (
                "never answered",
                attempt(State::Issued),
                Happening::Unanswered { delay_us: 0 },
                "ISSUED",
            ),
            (
                "never answered, again",
                sent(),
                Happening::Unanswered { delay_us: 0 },
                "stays",
            ),
            (
                "complete",
                attempt(State::Accepted),
                Happening::Completed(&fine),
                "TRANSFERRED",
            ),
            (
                "complete, nothing to verify",
                opaque(State::Accepted),
                Happening::Completed(&fine),
                "SUCCEEDED",
            ),
            (
                "complete without an answer",
                sent(),
                Happening::Completed(&fine),
                "TRANSFERRED",
            ),
            (
                "complete again",
                attempt(State::Transferred),
                Happening::Completed(&fine),
                "stays",
            ),
            (
                "complete with a fault",
                attempt(State::Accepted),
                Happening::Completed(&bad),
                "CWMP_FAULT",
            ),
            (
                "complete with a fault after Status 0",
                attempt(State::Transferred),
                Happening::Completed(&bad),
                "CWMP_FAULT",
            ),
            (
                "the version",
                attempt(State::Transferred),
                seen("2", false, false),
                "SUCCEEDED",
            ),
            (
                "the version without a report",
                attempt(State::Accepted),
                seen("2", true, false),
                "SUCCEEDED",
            ),
            (
                "the version by other means",
                attempt(State::Issued),
                seen("2", false, false),
                "SUCCEEDED",
            ),
            (
                "the version after a reset",
                attempt(State::Transferred),
                seen("2", true, true),
                "SUCCEEDED",
            ),
            (
                "another version after a boot",
                attempt(State::Transferred),
                seen("1", true, false),
                "TRANSFERRED",
            ),
            (
                "another version before a boot",
                attempt(State::Transferred),
                seen("1", false, false),
                "stays",
            ),
            (
                "another version while transferring",
                attempt(State::Accepted),
                seen("1", true, false),
                "stays",
            ),
            (
                "a reset",
                attempt(State::Accepted),
                seen("1", true, true),
                "ABORTED_BY_BOOTSTRAP",
            ),
            (
                "a reset before it was sent",
                attempt(State::Issued),
                seen("1", true, true),
                "stays",
            ),
            (
                "overdue after acceptance",
                attempt(State::Accepted),
                Happening::Overdue,
                "TIMED_OUT",
            ),
            (
                "overdue after transfer",
                attempt(State::Transferred),
                Happening::Overdue,
                "TIMED_OUT",
            ),
            (
                "overdue with another version",
                other(),
                Happening::Overdue,
                "VERSION_MISMATCH",
            ),
            (
                "overdue without an answer",
                sent(),
                Happening::Overdue,
                "OUTCOME_UNKNOWN",
            ),
            (
                "overdue while queued",
                attempt(State::Issued),
                Happening::Overdue,
                "stays",
            ),
            (
                "pending",
                attempt(State::Pending),
                Happening::Completed(&fine),
                "stays",
            ),
        ] {
            assert_eq!(
                word(&next(&attempt, happening, 10, PATIENCE)),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn an_old_timer_says_nothing() {
        assert_eq!(
            next(&attempt(State::Accepted), Happening::Overdue, 9, PATIENCE),
            Next::Stays
        );
    }

    #[test]
    fn deadlines_count_from_what_happened() {
        let deadline = |state, happening| match next(&attempt(state), happening, 1_000, PATIENCE) {
            Next::GoesOn(attempt) => attempt.deadline_us,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            deadline(State::Issued, Happening::Taken { later_us: Some(7) }),
            1_107
        );
        let fine = complete(0);
        assert_eq!(
            deadline(State::Accepted, Happening::Completed(&fine)),
            1_050
        );
        assert_eq!(
            deadline(State::Issued, Happening::Unanswered { delay_us: 7 }),
            1_107
        );
    }

    fn order(state: State) -> usize {
        [
            State::Pending,
            State::Issued,
            State::Accepted,
            State::Transferred,
        ]
        .iter()
        .position(|s| *s == state)
        .unwrap()
    }

    proptest! {
        #[test]
        fn an_attempt_never_goes_back_and_ends_at_its_deadline(happenings in proptest::collection::vec((0_u8..9, 0_i64..60), 0..60)) {
            let (fine, bad, refusal) = (complete(0), complete(9010), CwmpFault::default());
            let mut attempt = Attempt { deadline_us: 0, ..attempt(State::Issued) };
            let mut now_us = 0;
            for (kind, pause) in happenings {
                now_us += pause;
                let happening = match kind {
                    0 => Happening::Taken { later_us: Some(5) },
                    1 => Happening::Taken { later_us: None },
                    2 => Happening::Refused(&refusal),
                    3 => Happening::Unanswered { delay_us: 0 },
                    4 => Happening::Completed(&fine),
                    5 => Happening::Completed(&bad),
                    6 => seen("1", true, false),
                    7 => seen("2", true, false),
                    _ => Happening::Overdue,
                };
                match next(&attempt, happening, now_us, PATIENCE) {
                    Next::Stays => {}
                    Next::GoesOn(further) => {
                        prop_assert!(order(further.state()) >= order(attempt.state()));
                        prop_assert!(further != attempt, "a step changes something, so the number of steps is bounded");
                        attempt = further;
                    }
                    Next::Ends(_) => return Ok(()),
                }
            }
            // Whatever was sent ends by its deadline.
            if attempt.state() != State::Issued || attempt.unanswered {
                prop_assert!(attempt.deadline_us > 0);
                let end = next(&attempt, Happening::Overdue, attempt.deadline_us, PATIENCE);
                prop_assert!(matches!(end, Next::Ends(_)), "{end:?}");
            }
        }
    }
}
