//! What a stream did that its API does not allow: counted, or refused where the caller asked for strictness.

use std::collections::BTreeMap;

use crate::error::Error;

/// Counts breaches by rule. A rule is named in `snake_case`; its name is what users see and count.
#[derive(Debug, Clone)]
pub(crate) struct Diagnostics {
    strict: bool,
    counts: BTreeMap<&'static str, u64>,
}

impl Diagnostics {
    /// With `strict`, a breach is an error; otherwise it is counted and the stream goes on.
    pub(crate) const fn new(strict: bool) -> Self {
        Self { strict, counts: BTreeMap::new() }
    }

    /// An event of type `event` broke `rule`. Counted in both modes.
    #[cold]
    pub(crate) fn breach(&mut self, rule: &'static str, event: &str) -> Result<(), Error> {
        self.note(rule);
        if self.strict { Err(Error::Event { rule, event: event.into() }) } else { Ok(()) }
    }

    /// Something worth knowing that breaks no rule.
    pub(crate) fn note(&mut self, kind: &'static str) {
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// How often anything was counted.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().fold(0, |total, count| total.saturating_add(*count))
    }

    /// Whether breaches are errors.
    pub(crate) const fn is_strict(&self) -> bool {
        self.strict
    }

    /// How often each kind came, in the order of the names.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::Diagnostics;
    use crate::error::Error;

    #[test]
    fn strictness_decides_between_counting_and_refusing() {
        let mut lenient = Diagnostics::new(false);
        assert_eq!(lenient.breach("late_delta", "x"), Ok(()));
        assert_eq!(lenient.breach("late_delta", "x"), Ok(()));
        lenient.note("advice");
        assert_eq!(lenient.counts().collect::<Vec<_>>(), [("advice", 1), ("late_delta", 2)]);
        let mut strict = Diagnostics::new(true);
        let refusal = Error::Event { rule: "late_delta", event: "x".into() };
        assert_eq!(strict.breach("late_delta", "x"), Err(refusal));
        assert_eq!(strict.counts().collect::<Vec<_>>(), [("late_delta", 1)]);
        assert!(strict.is_strict() && !lenient.is_strict());
    }
}
