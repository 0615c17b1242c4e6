//! Versions of firmware as vendors write them: `1.10`, `V2.0-rc1`, `20260114_003`, `4.11.2.1b`.

use std::cmp::Ordering;

/// Words that say "before the release of that number".
const EARLY: [&str; 7] = ["alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"];

/// Compares two versions component by component; numbers by value, whatever their length, words without regard to case.
///
/// A component is a run of digits or a run of letters; everything else separates. A missing component counts as zero, so `1.0` equals
/// `1.0.0`. A word comes after nothing and before any number above zero (`2.1` < `2.1a` < `2.1.1`), except for words that announce a release, such as
/// `rc`, which come before it (`2.1-rc1` < `2.1`). A leading `v` is not a word. This is a total order over all texts, up to such equal spellings.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (Components::new(left), Components::new(right));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => left
                .unwrap_or(Component::ZERO)
                .cmp(&right.unwrap_or(Component::ZERO)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// One component; digits without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component<'a> {
    Digits(&'a str),
    Word(&'a str),
}

impl Component<'_> {
    const ZERO: Self = Self::Digits("");

    /// Early word, nothing, other word, number above zero.
    fn rank(self) -> u8 {
        match self {
            Self::Word(word) if EARLY.iter().any(|early| early.eq_ignore_ascii_case(word)) => 0,
            Self::Digits("") => 1,
            Self::Word(_) => 2,
            Self::Digits(_) => 3,
        }
    }

    fn cmp(&self, other: &Component<'_>) -> Ordering {
        self.rank()
            .cmp(&other.rank())
            .then_with(|| match (self, other) {
                (Self::Digits(a), Component::Digits(b)) => {
                    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                }
                (Self::Word(a), Component::Word(b)) => a
                    .bytes()
                    .map(|byte| byte.to_ascii_lowercase())
                    .cmp(b.bytes().map(|byte| byte.to_ascii_lowercase())),
                // Different kinds have different ranks.
                _ => Ordering::Equal,
            })
    }
}

struct Components<'a>(&'a str);

impl<'a> Components<'a> {
    fn new(text: &'a str) -> Self {
        let text = text.trim_start();
        let rest = text
            .strip_prefix(['v', 'V'])
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Self(rest.unwrap_or(text))
    }
}

impl<'a> Iterator for Components<'a> {
    type Item = Component<'a>;

    fn next(&mut self) -> Option<Component<'a>> {
        let text = self.0.trim_start_matches(|c: char| !c.is_alphanumeric());
        let first = text.chars().next()?;
        let digits = first.is_ascii_digit();
        let end = text
            .find(|c: char| !c.is_alphanumeric() || c.is_ascii_digit() != digits)
            .unwrap_or(text.len());
        let (component, rest) = text.split_at(end);
        self.0 = rest;
        Some(if digits {
            Component::Digits(component.trim_start_matches('0'))
        } else {
            Component::Word(component)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_compare_as_people_expect() {
        for (less, more) in [
            ("1.9", "1.10"),
            ("1.0", "1.0.1"),
            ("2.1", "2.1a"),
            ("2.1a", "2.1b"),
            ("2.1a", "2.1.1"),
            ("2.1-rc1", "2.1"),
            ("2.1-RC1", "2.1-rc2"),
            ("2.1-beta", "2.1-rc1"),
            ("V1.2", "v1.3"),
            ("20251231_001", "20260114_001"),
            ("99999999999999999999", "100000000000000000000"),
            ("", "0.1"),
            ("M281_2.1", "M281_2.12"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} < {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{more} > {less}");
        }
        for (a, b) in [
            ("1.0", "1"),
            ("1.0", "1.0.0"),
            ("v1.2", "1.2"),
            ("01.02", "1.2"),
            ("1_2", "1.2"),
            ("", "0"),
            ("1.a", "1.A"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-2a-b.v-]{0,6}|\\PC{0,6}", b in "[0-2a-b.-]{0,6}", c in "[0-2a-brc.-]{0,6}") {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare(x, y));
            prop_assert!(compare(sorted[0], sorted[2]) != Ordering::Greater);
        }
    }
}
