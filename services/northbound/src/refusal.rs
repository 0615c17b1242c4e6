//! Why a call was refused: whose fault it is, under a stable code, and as which gRPC status it leaves.

use platen_bus::log;
use platen_store::table;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Domain of the stable codes ([`tonic_types::ErrorInfo`]).
const DOMAIN: &str = "platen";

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// JSON path of the field; empty: the request as a whole.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request is wrong, whatever the state: repeating it does not help.
    #[error("{}", describe(.0))]
    Invalid(Vec<Violation>),
    /// There is no such resource, or it is another tenant's.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Something of that identity is there already.
    #[error("{message}")]
    Exists { code: &'static str, message: String },
    /// The resource was changed since the caller read it: read it again.
    #[error("{0} was changed since; read it again")]
    Changed(String),
    /// The request is right, but the state forbids it.
    #[error("{message}")]
    Precondition { code: &'static str, message: String },
    /// No token, or one that does not hold.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The token's role does not reach so far.
    #[error("{0}")]
    Forbidden(String),
    /// Too many calls: try again after this time.
    #[error("{message}")]
    TooMany {
        message: &'static str,
        after: Duration,
    },
    /// This release does not do it.
    #[error("{0}")]
    Unimplemented(String),
    /// A position that is no longer there.
    #[error("{message}")]
    OutOfRange { code: &'static str, message: String },
    /// Something larger than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Something that Platen needs is away: the same call may succeed later.
    #[error("{message}")]
    Unavailable { code: &'static str, message: String },
    /// Platen's own fault.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// One field is wrong.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, description)])
    }

    /// The stable code, upper snake.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::NotFound(_) => "NOT_FOUND",
            Self::Exists { code, .. }
            | Self::Precondition { code, .. }
            | Self::OutOfRange { code, .. }
            | Self::Unavailable { code, .. } => code,
            Self::Changed(_) => "ETAG_MISMATCH",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::Forbidden(_) => "PERMISSION_DENIED",
            Self::TooMany { .. } => "RATE_LIMITED",
            Self::Unimplemented(_) => "UNIMPLEMENTED",
            Self::TooLarge(_) => TOO_LARGE,
            Self::Internal(_) => "INTERNAL",
        }
    }

    const fn status_code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::TooLarge(_) => Code::InvalidArgument,
            Self::NotFound(_) => Code::NotFound,
            Self::Exists { .. } => Code::AlreadyExists,
            Self::Changed(_) => Code::Aborted,
            Self::Precondition { .. } => Code::FailedPrecondition,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::TooMany { .. } => Code::ResourceExhausted,
            Self::Unimplemented(_) => Code::Unimplemented,
            Self::OutOfRange { .. } => Code::OutOfRange,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

/// The code of [`Refusal::TooLarge`], which HTTP tells apart (413).
pub(crate) const TOO_LARGE: &str = "TOO_LARGE";

/// A status travels in headers: what callers wrote must not make them large.
const MOST_VIOLATIONS: usize = 10;

/// A text, or its beginning.
fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn describe(violations: &[Violation]) -> String {
    let parts: Vec<String> = violations
        .iter()
        .map(|v| {
            if v.field.is_empty() {
                v.description.clone()
            } else {
                format!("{}: {}", v.field, v.description)
            }
        })
        .collect();
    parts.join("; ")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::Internal(message) = &refusal {
            tracing::error!(%message, "a call failed");
        }
        let mut details = ErrorDetails::with_error_info(refusal.code(), DOMAIN, HashMap::new());
        if let Refusal::Invalid(violations) = &refusal {
            let violations: Vec<FieldViolation> = violations
                .iter()
                .take(MOST_VIOLATIONS)
                .map(|v| FieldViolation::new(short(&v.field, 120), short(&v.description, 240)))
                .collect();
            details.set_bad_request(violations);
        }
        if let Refusal::TooMany { after, .. } = &refusal {
            details.set_retry_info(Some(*after));
        }
        Self::with_error_details(
            refusal.status_code(),
            short(&refusal.to_string(), 700),
            details,
        )
    }
}

impl From<table::Error> for Refusal {
    fn from(error: table::Error) -> Self {
        let message = error.to_string();
        match error {
            table::Error::Unavailable(_) => Self::Unavailable {
                code: "STORE_UNAVAILABLE",
                message,
            },
            table::Error::Full(_) => Self::Unavailable {
                code: "STORAGE_FULL",
                message,
            },
            table::Error::TooLarge { .. } => Self::TooLarge(message),
            table::Error::Corrupt { .. } => Self::Internal(message),
            table::Error::BadCursor => Self::field("pageToken", "is not one of this list"),
        }
    }
}

impl From<log::Error> for Refusal {
    fn from(error: log::Error) -> Self {
        let message = error.to_string();
        match error {
            log::Error::Unavailable(_) => Self::Unavailable { code: "LOG_UNAVAILABLE", message },
            log::Error::Full(_) => Self::Unavailable { code: "STORAGE_FULL", message },
            log::Error::TooOld { .. } => Self::OutOfRange {
                code: "CURSOR_TOO_OLD",
                message: "the events after this cursor are no longer held: list what was missed, and watch again without a cursor".to_owned(),
            },
            log::Error::Corrupt { .. } | log::Error::TooLarge(_) => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_travel_as_details() {
        let status = Status::from(Refusal::Invalid(vec![
            Violation::new("oui", "must be six digits"),
            Violation::new("", "is empty"),
        ]));

        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "oui: must be six digits; is empty");
        let details = status.get_error_details();
        let fields: Vec<&str> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(fields, ["oui", ""]);
        assert_eq!(details.error_info().unwrap().reason, "INVALID_ARGUMENT");
    }

    #[test]
    fn what_callers_write_does_not_make_a_status_large() {
        let long = "é".repeat(100_000);
        let violations = (0..1_000)
            .map(|_| Violation::new(long.as_str(), long.as_str()))
            .collect();
        for refusal in [Refusal::Invalid(violations), Refusal::NotFound(long)] {
            let status = Status::from(refusal);
            assert!(status.message().len() + status.details().len() < 12_000);
        }
    }

    #[test]
    fn a_cursor_that_is_too_old_says_what_to_do() {
        let error = log::Error::TooOld {
            topic: "platen.reports.v1",
            offset: 7,
        };
        let status = Status::from(Refusal::from(error));

        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().contains("watch again without a cursor"));
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "CURSOR_TOO_OLD"
        );
    }

    #[test]
    fn a_full_store_is_unavailable_and_says_so() {
        let status = Status::from(Refusal::from(table::Error::Full("12 MiB left".to_owned())));

        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "STORAGE_FULL"
        );
    }
}
