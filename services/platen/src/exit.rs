//! How commands end: what went wrong, whose fault it is, what to do, and the exit code that scripts rely on.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

/// What scripts tell apart: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was tried and failed.
    Failed,
    /// The command was called wrongly.
    Usage,
    /// Authentication or permission.
    Refused,
    /// There is no such thing.
    NotFound,
    /// It took too long.
    TimedOut,
    /// Whoever read our output has gone: not a failure.
    PipeClosed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::PipeClosed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotFound => 4,
            Self::TimedOut => 5,
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same failure with what to do about it.
    pub(crate) fn advise(self, advice: &str) -> Self {
        Self {
            message: format!("{}\n  {advice}", self.message),
            ..self
        }
    }

    #[cfg(test)]
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if self.kind != Kind::PipeClosed {
            // Nothing is left to be done if even this cannot be written.
            let _ = writeln!(io::stderr().lock(), "platen: {self}");
        }
        ExitCode::from(self.kind.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe {
            Kind::PipeClosed
        } else {
            Kind::Failed
        };
        Self::new(kind, error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}
