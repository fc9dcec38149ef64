//! What a response says beside its output: audio and previews of images.

use std::collections::BTreeMap;

use super::context::Context;
use super::oddity::Oddity;
use crate::accumulate::base64::Base64;
use crate::accumulate::text::{Meter, Text};
use crate::error::Error;
use crate::event::Field;

/// Audio, transcript and image previews. None of it is part of the response object.
#[derive(Debug, Default)]
pub(super) struct Side {
    audio: Option<Base64>,
    transcript: Option<Text>,
    /// The event of the last preview of each image, by `output_index`.
    images: BTreeMap<u64, Vec<u8>>,
}

impl Side {
    /// Bytes charged for it.
    pub(super) fn held(&self) -> usize {
        let audio = self.audio.as_ref().map_or(0, |audio| audio.as_bytes().len());
        let transcript = self.transcript.as_ref().map_or(0, Text::len);
        audio + transcript + self.images.values().map(Vec::len).sum::<usize>()
    }

    /// The sound, decoded; `None` if none came.
    pub(super) fn audio(&self) -> Option<&[u8]> {
        self.audio.as_ref().map(Base64::as_bytes)
    }

    /// What the audio says.
    pub(super) const fn transcript(&self) -> Option<&Text> {
        self.transcript.as_ref()
    }

    /// The last preview event of each image.
    pub(super) fn images(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.images.iter().map(|(&index, event)| (index, event.as_slice()))
    }

    /// `response.audio.delta`
    pub(super) fn append_audio(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(piece) = cx.event.text(Field::Delta) else { return cx.note(Oddity::BadValue) };
        let piece = piece.decoded();
        if !Base64::accepts(&piece) {
            return cx.note(Oddity::BadAudio);
        }
        let before = self.audio.as_ref().map_or(0, |audio| audio.as_bytes().len());
        let most = piece.len() / 4 * 3 + 3;
        cx.bytes.take(most, cx.event.at(Field::Delta))?;
        let audio = self.audio.get_or_insert_default();
        audio.push(&piece);
        cx.bytes.give(most - (audio.as_bytes().len() - before));
        Ok(())
    }

    /// `response.audio.transcript.delta`
    pub(super) fn append_transcript(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(piece) = cx.event.text(Field::Delta) else { return cx.note(Oddity::BadValue) };
        self.transcript.get_or_insert_default().push(piece, cx.event.at(Field::Delta), cx.bytes)
    }

    /// `response.image_generation_call.partial_image`: the newest preview replaces the one before.
    pub(super) fn set_image(
        &mut self,
        index: u64,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let before = self.images.get(&index).map(Vec::len);
        let at = cx.event.at(Field::PartialImage);
        entries.take(usize::from(before.is_none()), at)?;
        cx.bytes.replace(before.unwrap_or_default(), cx.event.payload.len(), at)?;
        self.images.insert(index, cx.event.payload.to_vec());
        Ok(())
    }
}
