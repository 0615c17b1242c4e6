//! What levels of supplies and trays mean (rules LVL).

/// How to read a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// The number is the level.
    Exact,
    /// At least one unit is left; nobody knows how much.
    SomeRemaining,
    /// Nobody knows.
    Unknown,
    /// There is no limit.
    Unrestricted,
}

impl Qualifier {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "Exact",
            Self::SomeRemaining => "SomeRemaining",
            Self::Unknown => "Unknown",
            Self::Unrestricted => "Unrestricted",
        }
    }

    /// How to read a raw level (LVL-03, LVL-04, LVL-05, LVL-12, LVL-13).
    #[must_use]
    pub const fn of(level: i64) -> Self {
        match level {
            0.. => Self::Exact,
            -1 => Self::Unrestricted,
            -3 => Self::SomeRemaining,
            _ => Self::Unknown,
        }
    }
}

/// Whether a supply counts down or fills up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Neither is known.
    Other,
    /// It counts down: toner, drum, staples.
    Consumed,
    /// It fills up: waste boxes. Its level is the space that is left.
    Receptacle,
}

impl Class {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "Other",
            Self::Consumed => "Consumed",
            Self::Receptacle => "Receptacle",
        }
    }

    /// The class as told, or else as the type of the supply suggests (LVL-15).
    #[must_use]
    pub const fn of(class: Option<i64>, supply_type: Option<i64>) -> Self {
        match (class, supply_type) {
            (Some(3), _) => Self::Consumed,
            (Some(4), _) | (_, Some(4 | 8 | 14 | 24 | 26)) => Self::Receptacle,
            (_, Some(3 | 5..=7 | 9..=13 | 15..=23 | 25 | 27..=34)) => Self::Consumed,
            _ => Self::Other,
        }
    }
}

/// The condition of a supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing to do.
    Ok,
    /// Order.
    Low,
    /// Order at once.
    VeryLow,
    /// Replace.
    Empty,
    /// Order a new receptacle.
    NearFull,
    /// Replace the receptacle.
    Full,
    /// Not fitted.
    Missing,
    /// Nobody knows.
    Unknown,
}

impl State {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Low => "Low",
            Self::VeryLow => "VeryLow",
            Self::Empty => "Empty",
            Self::NearFull => "NearFull",
            Self::Full => "Full",
            Self::Missing => "Missing",
            Self::Unknown => "Unknown",
        }
    }
}

/// A level, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How to read the number.
    pub qualifier: Qualifier,
    /// What remains, of a receptacle the free space, in percent; -1 if it cannot be said.
    pub percent: i8,
    /// What the level alone says about the condition.
    pub state: State,
}

/// At or below these remaining percents a supply is low, very low.
const LOW: i8 = 10;
const VERY_LOW: i8 = 3;

/// Understands a level.
///
/// `max` and `level` are as the printer says them (-2 where it says nothing); `unit_is_percent` when the unit of the row is percent, or
/// when the printer is known to give percents without a capacity (LVL-06).
#[must_use]
pub fn understand(class: Class, max: i64, level: i64, unit_is_percent: bool) -> Level {
    // Ricoh: almost empty, below the first step of its gauge (LVL-07).
    if level == -100 {
        return Level {
            qualifier: Qualifier::Exact,
            percent: 0,
            state: State::VeryLow,
        };
    }
    let qualifier = Qualifier::of(level);
    let percent = percent(max, level, unit_is_percent);
    let state = match (qualifier, percent) {
        (Qualifier::SomeRemaining | Qualifier::Unrestricted, _) => State::Ok,
        (Qualifier::Unknown, _) => State::Unknown,
        (Qualifier::Exact, -1) if level > 0 => State::Ok,
        (Qualifier::Exact, -1..=0) if class == Class::Receptacle => State::Full,
        (Qualifier::Exact, -1..=0) => State::Empty,
        (Qualifier::Exact, percent) if percent <= LOW && class == Class::Receptacle => {
            State::NearFull
        }
        (Qualifier::Exact, percent) if percent <= VERY_LOW => State::VeryLow,
        (Qualifier::Exact, percent) if percent <= LOW => State::Low,
        (Qualifier::Exact, _) => State::Ok,
    };
    Level {
        qualifier,
        percent,
        state,
    }
}

/// The part of `max` that `level` is, in whole percents rounded down; something is never nothing (LVL-01, LVL-02); -1 if it cannot be said.
#[must_use]
pub fn percent(max: i64, level: i64, unit_is_percent: bool) -> i8 {
    let percent = match (max, level) {
        (_, ..0) => -1,
        (1.., level) if level >= max => 100,
        (1.., 0) => 0,
        (1.., level) => (i128::from(level) * 100 / i128::from(max)).max(1),
        (_, 0..=100) if unit_is_percent => level.into(),
        _ => -1,
    };
    i8::try_from(percent).expect("invariant: between -1 and 100 in every arm")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_mean_what_recordings_show() {
        use Class::{Consumed, Receptacle};
        use Qualifier::{Exact, SomeRemaining, Unknown, Unrestricted};
        let cases = [
            // Dell toner, Samsung fuser, Brother drum.
            (Consumed, 45_000, 22_050, false, Exact, 49, State::Ok),
            (Consumed, 90_000, 67_066, false, Exact, 74, State::Ok),
            (Consumed, 12_000, 11_501, false, Exact, 95, State::Ok),
            // Something is never nothing; a refilled cartridge is not more than full.
            (Consumed, 15_000, 3, false, Exact, 1, State::VeryLow),
            (Consumed, 15_000, 0, false, Exact, 0, State::Empty),
            (Consumed, 100, 120, false, Exact, 100, State::Ok),
            (Consumed, 100, 10, false, Exact, 10, State::Low),
            // No gauge: never an invented percentage.
            (Consumed, -2, -3, false, SomeRemaining, -1, State::Ok),
            (Consumed, 100, -3, false, SomeRemaining, -1, State::Ok),
            (Consumed, -2, -2, false, Unknown, -1, State::Unknown),
            (Consumed, -2, -1, false, Unrestricted, -1, State::Ok),
            // Percents without a capacity count only where that is known.
            (Consumed, -2, 9, true, Exact, 9, State::Low),
            (Consumed, -2, 9, false, Exact, -1, State::Ok),
            (Consumed, -2, 150, true, Exact, -1, State::Ok),
            // Ricoh below its gauge.
            (Consumed, 100, -100, false, Exact, 0, State::VeryLow),
            // Receptacles tell the space that is left.
            (Receptacle, 6_700, 6_030, false, Exact, 90, State::Ok),
            (Receptacle, 100, 5, false, Exact, 5, State::NearFull),
            (Receptacle, 100, 0, false, Exact, 0, State::Full),
            (Receptacle, 100, 100, false, Exact, 100, State::Ok),
        ];
        for (class, max, level, unit_is_percent, qualifier, percent, state) in cases {
            let expect = Level {
                qualifier,
                percent,
                state,
            };
            assert_eq!(
                understand(class, max, level, unit_is_percent),
                expect,
                "{class:?} {max} {level}"
            );
        }
    }

    #[test]
    fn the_class_comes_from_the_type_where_it_is_not_told() {
        let cases = [
            (Some(3), Some(4), Class::Consumed),
            (Some(4), Some(3), Class::Receptacle),
            (Some(1), Some(32), Class::Consumed),
            (Some(1), Some(1), Class::Other),
            (None, Some(3), Class::Consumed),
            (None, Some(4), Class::Receptacle),
            (None, Some(8), Class::Receptacle),
            (None, None, Class::Other),
        ];
        for (class, supply_type, expect) in cases {
            assert_eq!(
                Class::of(class, supply_type),
                expect,
                "{class:?} {supply_type:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn percents_stay_in_their_range(max in any::<i64>(), level in any::<i64>(), unit in any::<bool>()) {
            let level_of = understand(Class::Consumed, max, level, unit);
            prop_assert!((-1..=100).contains(&level_of.percent));
            prop_assert!(level_of.percent >= 0 || level_of.state != State::Empty || level == 0);
        }
    }
}
