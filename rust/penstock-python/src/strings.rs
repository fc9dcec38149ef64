//! Python strings from bytes: the shared words of the wire, and new ones built in place.
//!
//! The table of words is filled once when the module is imported and never written again, so threads share it
//! without locks and streams share nothing through it.

#![allow(unsafe_code, reason = "strings are filled in place")]

use penstock::json::{RawStr, push_escaped, push_lossy};
use penstock::{EventType, Field, Folded};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// Slots of the table; a power of two, at least twice the words.
const SLOTS: usize = 1024;

/// Further keys and values of the formats penstock reads; words beyond these are merely built anew each time.
const WORDS: &str = "\
    access_policy action added agent_name allowed_tools annotation annotations approval_request_id arguments assistant \
    audio auto background bytes cache_write_tokens cached_tokens call_id caller cancelled chat.completion \
    chat.completion.chunk choices citations code_interpreter_call commentary completed completed_at completion_tokens \
    completion_tokens_details compaction computer_call container_id content content_block content_block_delta \
    content_block_start content_block_stop content_filter context_management conversation created_at custom \
    custom_tool_call default description developer disabled effort end_index encrypted_content end_turn error execution \
    failed file_citation file_id file_search_call filename final_answer finish_reason format frequency_penalty function \
    function_call function_call_output generating id image_generation_call in_progress include incomplete \
    incomplete_details input input_json_delta input_text input_tokens input_tokens_details instructions interpreting \
    items json_object json_schema length local_shell_call logprob logprobs logs low max_output_tokens max_tool_calls \
    mcp_approval_request mcp_call mcp_list_tools medium message message_delta message_start message_stop metadata \
    moderation model name namespace none obfuscation object outcome output output_text output_tokens \
    output_tokens_details outputs parallel_tool_calls parameters partial_json part phase ping presence_penalty \
    previous_response_id program prompt_cache_key prompt_cache_retention prompt_filter_results prompt_tokens \
    prompt_tokens_details properties queries quality queued reasoning reasoning_content reasoning_text reasoning_tokens \
    redacted_thinking refusal required response result results role safety_identifier schema search_context_size \
    searching server_label service_tier shell_call shell_call_output signature signature_delta size start_index status \
    stop stop_reason stop_sequence store strict string summary summary_text system system_fingerprint temperature text \
    text_delta thinking thinking_delta title token tool tool_calls tool_choice tool_search_call tool_search_output \
    tool_usage tool_use tools top_logprobs top_p total_tokens truncation type url url_citation usage user user_location \
    verbosity web_search web_search_call x_groq";

/// A word as numbers to compare, as bytes where it is too long for that, and as Python has it.
struct Word {
    folded: Folded,
    bytes: Box<[u8]>,
    string: Py<PyString>,
}

impl Word {
    #[inline]
    fn is(&self, folded: Folded, word: &[u8]) -> bool {
        self.folded == folded && self.bytes.len() == word.len() && (word.len() <= 16 || *self.bytes == *word)
    }
}

/// The words every stream repeats, as interned Python strings.
pub(crate) struct Words {
    slots: Vec<Option<Word>>,
    event_types: Vec<Py<PyString>>,
}

static WORDS_TABLE: PyOnceLock<Words> = PyOnceLock::new();

/// Fills the table; called when the module is imported.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    words(py).map(drop)
}

/// The table of words.
#[inline]
pub(crate) fn words(py: Python<'_>) -> PyResult<&Words> {
    WORDS_TABLE.get_or_try_init(py, || Ok(Words::new(py)))
}

impl Words {
    fn new(py: Python<'_>) -> Self {
        let mut words = Self { slots: (0..SLOTS).map(|_| None).collect(), event_types: Vec::new() };
        let types = EventType::ALL.iter().map(|event| event.as_str());
        let fields = Field::ALL.iter().map(|field| field.as_str());
        for word in types.chain(fields).chain(WORDS.split_ascii_whitespace()) {
            words.insert(py, word);
        }
        words.event_types =
            EventType::ALL.iter().map(|event| PyString::intern(py, event.as_str()).unbind()).collect();
        words
    }

    fn insert(&mut self, py: Python<'_>, word: &str) {
        let bytes = word.as_bytes();
        let folded = Folded::new(bytes);
        let mut slot = folded.slot(bytes.len(), SLOTS.ilog2());
        while let Some(Some(held)) = self.slots.get(slot % SLOTS) {
            if held.is(folded, bytes) {
                return;
            }
            slot += 1;
        }
        if let Some(free) = self.slots.get_mut(slot % SLOTS) {
            *free =
                Some(Word { folded, bytes: Box::from(bytes), string: PyString::intern(py, word).unbind() });
        }
    }

    /// The interned string of a word, if it is one of the table's.
    #[inline]
    pub(crate) fn find(&self, word: &[u8]) -> Option<&Py<PyString>> {
        let folded = Folded::new(word);
        let mut slot = folded.slot(word.len(), SLOTS.ilog2());
        while let Some(Some(held)) = self.slots.get(slot % SLOTS) {
            if held.is(folded, word) {
                return Some(&held.string);
            }
            slot += 1;
        }
        None
    }

    /// The name of an event type.
    #[inline]
    pub(crate) fn event_type(&self, event: EventType) -> Option<&Py<PyString>> {
        self.event_types.get(event as usize)
    }

    /// A string that is likely to be one of the table's.
    #[inline]
    pub(crate) fn string<'py>(&self, py: Python<'py>, text: RawStr<'_>) -> PyResult<Bound<'py, PyString>> {
        match self.find(text.raw) {
            Some(word) => Ok(word.bind(py).clone()),
            None => string(py, text),
        }
    }
}

/// A new Python string; lone surrogates and invalid UTF-8 become U+FFFD.
#[inline]
pub(crate) fn string<'py>(py: Python<'py>, text: RawStr<'_>) -> PyResult<Bound<'py, PyString>> {
    if text.ascii && !text.escaped {
        return ascii(py, text.raw);
    }
    if !text.escaped {
        return Ok(utf8(py, text.raw));
    }
    let mut decoded = Vec::with_capacity(text.raw.len());
    push_lossy(text, &mut decoded);
    if decoded.is_ascii() { ascii(py, &decoded) } else { Ok(utf8(py, &decoded)) }
}

/// A new Python string from bytes that should be UTF-8; what is not becomes U+FFFD.
pub(crate) fn utf8<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    let start = bytes.as_ptr().cast();
    // SAFETY: the pointer and length are those of a live slice; the result is a new reference, or null with an
    // exception set when the bytes are not UTF-8.
    let decoded = unsafe {
        let raw = ffi::PyUnicode_DecodeUTF8(start, bytes.len().cast_signed(), std::ptr::null());
        Bound::from_owned_ptr_or_opt(py, raw)
    };
    if let Some(string) = decoded {
        // SAFETY: the function returns nothing but strings.
        return unsafe { string.cast_into_unchecked() };
    }
    drop(PyErr::take(py));
    PyString::new(py, &String::from_utf8_lossy(bytes))
}

/// A new Python string from WTF-8; each surrogate half becomes one U+FFFD.
pub(crate) fn wtf8<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return PyString::new(py, text);
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 16);
    push_escaped(bytes, &mut escaped);
    let mut decoded = Vec::with_capacity(bytes.len());
    push_lossy(RawStr::checked(&escaped), &mut decoded);
    utf8(py, &decoded)
}

/// Whether decoding `text` would replace anything.
pub(crate) fn is_lossy(text: RawStr<'_>) -> bool {
    if text.ascii && !text.escaped {
        return false;
    }
    std::str::from_utf8(text.raw).is_err() || push_lossy(text, &mut Vec::with_capacity(text.raw.len()))
}

/// As the slice's own, which looks at the last bytes one by one.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk() else { return bytes.is_ascii() };
    let words = bytes.as_chunks().0.iter().chain([last]).copied().map(u64::from_ne_bytes);
    words.fold(0, |all, word| all | word) & 0x8080_8080_8080_8080 == 0
}

/// A new Python string from ASCII bytes, filled in place.
#[inline]
pub(crate) fn ascii<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    debug_assert!(bytes.is_ascii());
    if bytes.len() < 2 {
        // CPython keeps these as singletons.
        return Ok(PyString::new(py, std::str::from_utf8(bytes).unwrap_or_default()));
    }
    // SAFETY: a string made with maximal character 127 is compact ASCII, one byte a character; it has room for
    // its length, nobody else has seen it, and the bytes are ASCII.
    unsafe {
        let raw = ffi::PyUnicode_New(bytes.len().cast_signed(), 127);
        let string = Bound::from_owned_ptr_or_err(py, raw)?;
        let data = ffi::PyUnicode_DATA(raw).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Ok(string.cast_into_unchecked())
    }
}
