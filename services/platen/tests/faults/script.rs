//! What goes wrong, drawn at random from a seed.

use rand::{RngExt, rngs::StdRng};
use std::{fmt, time::Duration};

/// One thing that goes wrong, and is put right again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; started again after a while.
    Kill { member: usize, down: Duration },
    /// SIGSTOP, then SIGCONT.
    Freeze { member: usize, time: Duration },
    /// SIGTERM, and started again once it has ended.
    Restart { member: usize },
    /// Every member is ended by SIGTERM and started again, one after the other.
    Roll,
    /// Ended and started again with a clock that is so many seconds ahead.
    Skew { member: usize, seconds: i64 },
    /// A node of a backend is killed, and started again after a while.
    KillNode { node: String, down: Duration },
    /// It stands still for a while.
    FreezeNode { node: String, time: Duration },
    /// All sessions are lost.
    Flush,
    /// Consumers get every record again, from the first one on.
    Redeliver,
}

/// What there is to break.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) members: Vec<String>,
    pub(crate) nodes: Vec<String>,
    /// Whether clocks can be set.
    pub(crate) clocks: bool,
    /// The longest that anything stands still.
    pub(crate) longest: Duration,
}

impl Parts {
    /// The next thing that goes wrong.
    pub(crate) fn draw(&self, random: &mut StdRng) -> Fault {
        let member = random.random_range(0..self.members.len());
        let short = Duration::from_millis(random.random_range(0..3_000));
        // Most freezes are short; some outlast every time-out that there is.
        let longest = self.longest.as_secs_f64();
        let time = 1.0 + (longest - 1.0).max(0.0) * random.random_range(0.0..1.0_f64).powi(2);
        let time = Duration::from_secs_f64(time);
        loop {
            let node = || self.nodes[short.as_millis() as usize % self.nodes.len()].clone();
            return match random.random_range(0..20) {
                0..6 => Fault::Kill {
                    member,
                    down: short,
                },
                6..10 => Fault::Freeze { member, time },
                10..12 => Fault::Restart { member },
                12 => Fault::Roll,
                13..15 if self.clocks => Fault::Skew {
                    member,
                    seconds: random.random_range(-5..=5),
                },
                15 | 16 if !self.nodes.is_empty() => Fault::KillNode {
                    node: node(),
                    down: short,
                },
                17 if !self.nodes.is_empty() => Fault::FreezeNode { node: node(), time },
                18 if !self.nodes.is_empty() => Fault::Flush,
                19 if !self.nodes.is_empty() => Fault::Redeliver,
                _ => continue,
            };
        }
    }

    /// In words.
    pub(crate) fn tell<'f>(&'f self, fault: &'f Fault) -> impl fmt::Display + 'f {
        Told { parts: self, fault }
    }
}

struct Told<'f> {
    parts: &'f Parts,
    fault: &'f Fault,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |member: &usize| &self.parts.members[*member];
        match self.fault {
            Fault::Kill { member, down } => {
                write!(f, "SIGKILL {}, down for {down:.1?}", name(member))
            }
            Fault::Freeze { member, time } => write!(f, "SIGSTOP {} for {time:.1?}", name(member)),
            Fault::Restart { member } => write!(f, "SIGTERM {}", name(member)),
            Fault::Roll => write!(f, "rolling restart"),
            Fault::Skew { member, seconds } => {
                write!(f, "clock of {} ahead by {seconds} s", name(member))
            }
            Fault::KillNode { node, down } => write!(f, "SIGKILL {node}, down for {down:.1?}"),
            Fault::FreezeNode { node, time } => write!(f, "SIGSTOP {node} for {time:.1?}"),
            Fault::Flush => write!(f, "FLUSHALL"),
            Fault::Redeliver => write!(f, "everything is delivered again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn drawn(parts: &Parts, seed: u64) -> Vec<Fault> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..500).map(|_| parts.draw(&mut random)).collect()
    }

    #[test]
    fn a_seed_is_a_script() {
        let parts = Parts {
            members: vec!["edge-1".into(), "edge-2".into()],
            nodes: vec!["kafka1".into()],
            clocks: true,
            longest: Duration::from_secs(40),
        };
        assert_eq!(drawn(&parts, 7), drawn(&parts, 7));
        assert_ne!(drawn(&parts, 7), drawn(&parts, 8));
        for fault in drawn(&parts, 7) {
            if let Fault::Freeze { time, .. } | Fault::FreezeNode { time, .. } = fault {
                assert!(
                    time >= Duration::from_secs(1) && time <= parts.longest,
                    "{time:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_there_does_not_break() {
        let parts = Parts {
            members: vec!["platen".into()],
            nodes: Vec::new(),
            clocks: false,
            longest: Duration::from_secs(2),
        };
        for fault in drawn(&parts, 1) {
            assert!(
                matches!(
                    fault,
                    Fault::Kill { .. } | Fault::Freeze { .. } | Fault::Restart { .. } | Fault::Roll
                ),
                "{fault:?}"
            );
        }
    }
}
