//! One completion: what its chunks say beside their choices, and the choices.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::choice::{Choice, push_raw_or_null};
use crate::accumulate::chat::keep::{Extras, Raw, Unique};
use crate::accumulate::chat::rules;
use crate::accumulate::sparse::Sparse;
use crate::dialect::chat::{self, ChoiceField, Chunk, ChunkField, Level, is_blank, members};
use crate::error::Error;
use crate::event::index;
use crate::json::{RawStr, push_comma, push_key, push_string, spells};

/// One completion as far as it came.
#[derive(Debug, Default)]
pub(super) struct Completion {
    pub(super) started: bool,
    pub(super) id: Raw,
    pub(super) created: Raw,
    pub(super) model: Raw,
    pub(super) service_tier: Raw,
    pub(super) system_fingerprint: Raw,
    pub(super) usage: Raw,
    /// Usage from where it does not belong; counts when there is no other.
    pub(super) stray_usage: Raw,
    pub(super) citations: Unique,
    pub(super) error: Raw,
    /// The error of a choice, which is kept there; counts when there is no other.
    pub(super) stray_error: Raw,
    pub(super) choices: Sparse<Choice>,
    pub(super) extras: Extras,
}

impl Completion {
    #[inline]
    pub(super) fn apply_head(
        &mut self,
        chunk: &Chunk,
        payload: &[u8],
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        let value = |field| chunk.field(field).of(payload);
        self.id.set_first(value(ChunkField::Id), ledger)?;
        self.model.set_first(value(ChunkField::Model), ledger)?;
        self.service_tier.set_first(value(ChunkField::ServiceTier), ledger)?;
        self.system_fingerprint.set_first(value(ChunkField::SystemFingerprint), ledger)?;
        let created = value(ChunkField::Created);
        if created != b"0" {
            self.created.set_first(created, ledger)?;
        }
        self.usage.set_last(value(ChunkField::Usage), ledger)?;
        let citations = value(ChunkField::Citations);
        if !citations.is_empty() {
            self.citations.extend(citations, ledger)?;
        }
        let groq = value(ChunkField::XGroq);
        if !is_blank(groq) {
            self.extras.set(b"x_groq", groq, ledger)?;
            self.add_stray_usage(groq, ledger)?;
        }
        self.error.set_last(value(ChunkField::Error), ledger)
    }

    /// Takes the `usage` of an object that is not the chunk.
    #[cold]
    fn add_stray_usage(&mut self, object: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        for (key, value) in members(object) {
            if spells(RawStr::checked(key), "usage") {
                self.stray_usage.set_last(value, ledger)?;
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn apply_choice(
        &mut self,
        choice: &chat::Choice,
        place: usize,
        payload: &[u8],
        chunk: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        let Some(number) = number_of(choice, place, payload) else {
            return ledger.diagnostics.breach(rules::BAD_INDEX);
        };
        if self.choices.get_mut(number).is_none() {
            ledger.part()?;
            self.choices.insert(number, Choice::default());
        }
        self.stray_usage.set_last(choice.field(ChoiceField::Usage).of(payload), ledger)?;
        let error = choice.field(ChoiceField::Error).of(payload);
        self.stray_error.set_last(error, ledger)?;
        let Some(state) = self.choices.get_mut(number) else { return Ok(()) };
        if !error.is_empty() {
            state.extras.set(b"error", error, ledger)?;
        }
        if choice.field(ChoiceField::Delta).is_empty() && !choice.field(ChoiceField::Message).is_empty() {
            return state.apply_message(choice, payload, chunk, ledger);
        }
        state.apply(choice, payload, chunk, ledger)
    }

    #[cold]
    pub(super) fn apply_unknown(
        &mut self,
        chunk: &Chunk,
        payload: &[u8],
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        for unknown in &chunk.unknown {
            ledger.at = unknown.value.start as usize;
            let extras = match unknown.level {
                Level::Chunk => Some(&mut self.extras),
                Level::Choice(place) | Level::Delta(place) => {
                    let number =
                        chunk.choices.get(place).and_then(|choice| number_of(choice, place, payload));
                    number.and_then(|number| self.choices.get_mut(number)).map(|choice| {
                        let in_delta = matches!(unknown.level, Level::Delta(_));
                        if in_delta { &mut choice.message.extras } else { &mut choice.extras }
                    })
                }
            };
            if let Some(extras) = extras {
                extras.set(unknown.key.of(payload), unknown.value.of(payload), ledger)?;
            }
        }
        Ok(())
    }

    /// Whether a choice has come, and every one that has is finished.
    pub(super) fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|(_, choice)| !choice.finish_reason.is_empty())
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.effective_error().is_empty() || self.choices.iter().any(|(_, choice)| choice.has_failed())
    }

    pub(super) fn effective_error(&self) -> &Raw {
        if self.error.is_empty() { &self.stray_error } else { &self.error }
    }

    pub(super) fn effective_usage(&self) -> &Raw {
        if self.usage.is_empty() { &self.stray_usage } else { &self.usage }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        if self.id.is_empty() {
            push_string(b"", out);
        } else {
            out.extend_from_slice(self.id.as_bytes());
        }
        out.extend_from_slice(b",\"object\":\"chat.completion\",\"created\":");
        out.extend_from_slice(if self.created.is_empty() { b"0" } else { self.created.as_bytes() });
        out.extend_from_slice(b",\"model\":");
        if self.model.is_empty() {
            push_string(b"", out);
        } else {
            out.extend_from_slice(self.model.as_bytes());
        }
        out.extend_from_slice(b",\"choices\":[");
        for (index, choice) in self.choices.iter() {
            push_comma(out);
            choice.write(index, out);
        }
        out.extend_from_slice(b"],\"usage\":");
        push_raw_or_null(self.effective_usage(), out);
        let optional = [
            ("service_tier", &self.service_tier),
            ("system_fingerprint", &self.system_fingerprint),
            ("error", &self.error),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            out.push(b',');
            push_key(name, out);
            out.extend_from_slice(value.as_bytes());
        }
        if self.citations.is_present() {
            out.push(b',');
            push_key("citations", out);
            self.citations.write(out);
        }
        self.extras.write(out);
        out.push(b'}');
    }
}

/// The number of a choice: its `index`, or its place in the list if it has none; `None` if the index is no index.
fn number_of(choice: &chat::Choice, place: usize, payload: &[u8]) -> Option<u64> {
    match choice.field(ChoiceField::Index).of(payload) {
        b"" | b"null" => Some(place as u64),
        value => index(value),
    }
}
