//! What the browser is asked to do, from the arguments of the call: the `action` of a web search call.
//!
//! The model names pages by numbers that only the server's browser knows, so an address is given where the model
//! gave one, and else left out, or empty where clients of the API want one.

use super::route::BrowserAction;
use crate::event::string;
use crate::json::{RawStr, append_wtf8, entries, push_string, spells};

/// An object with the `action` of a call whose arguments are not known yet.
pub(super) fn unknown(action: BrowserAction) -> Vec<u8> {
    write(action, None, None)
}

/// An object with the `action` that `arguments` ask for, and whether they could be read: what is no JSON object is
/// taken for the query, the address or the pattern itself.
pub(super) fn asked(action: BrowserAction, arguments: &[u8]) -> (Vec<u8>, bool) {
    let mut clean = Vec::with_capacity(arguments.len());
    append_wtf8(arguments, &mut clean);
    let arguments = &*clean;
    let subject = match action {
        BrowserAction::Search => "query",
        BrowserAction::Open => "id",
        BrowserAction::Find => "pattern",
    };
    let (mut about, mut url) = (None, None);
    let read = entries(arguments, |key, value| {
        let text = || string(arguments.get(value).unwrap_or_default()).map(RawStr::decoded);
        if spells(key, subject) {
            about = text();
        } else if spells(key, "url") {
            url = text();
        }
    });
    if read.is_err() {
        return (write(action, Some(arguments.trim_ascii()), None), false);
    }
    (write(action, about.as_deref(), url.as_deref()), true)
}

fn write(action: BrowserAction, about: Option<&[u8]>, url: Option<&[u8]>) -> Vec<u8> {
    let mut out = b"{\"action\":{\"type\":".to_vec();
    let mut member = |start: &str, text: &[u8]| {
        out.extend_from_slice(start.as_bytes());
        push_string(text, &mut out);
    };
    match action {
        BrowserAction::Search => member("\"search\",\"query\":", about.unwrap_or_default()),
        BrowserAction::Find => {
            member("\"find_in_page\",\"pattern\":", about.unwrap_or_default());
            member(",\"url\":", url.unwrap_or_default());
        }
        BrowserAction::Open => match about.or(url) {
            Some(url) => member("\"open_page\",\"url\":", url),
            None => out.extend_from_slice(b"\"open_page\""),
        },
    }
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::{asked, unknown};
    use crate::harmony::route::BrowserAction::{self, Find, Open, Search};

    #[test]
    fn every_action() {
        let rows: [(BrowserAction, &str, &str, bool); 9] = [
            (Search, r#"{"query":"a \"b\"","topn":5}"#, r#"{"type":"search","query":"a \"b\""}"#, true),
            (Search, "{}", r#"{"type":"search","query":""}"#, true),
            (Search, " cats ", r#"{"type":"search","query":"cats"}"#, false),
            (Open, r#"{"id":"https://a/"}"#, r#"{"type":"open_page","url":"https://a/"}"#, true),
            (Open, r#"{"id":3,"cursor":1}"#, r#"{"type":"open_page"}"#, true),
            (Open, r#"{"url":"https://a/"}"#, r#"{"type":"open_page","url":"https://a/"}"#, true),
            (
                Find,
                r#"{"pattern":"x","cursor":2}"#,
                r#"{"type":"find_in_page","pattern":"x","url":""}"#,
                true,
            ),
            (Find, r#"{"pattern":1}"#, r#"{"type":"find_in_page","pattern":"","url":""}"#, true),
            (Find, "[1]", r#"{"type":"find_in_page","pattern":"[1]","url":""}"#, false),
        ];
        for (action, arguments, expected, is_read) in rows {
            let (written, read) = asked(action, arguments.as_bytes());
            assert_eq!(String::from_utf8(written).unwrap(), format!(r#"{{"action":{expected}}}"#));
            assert_eq!(read, is_read, "{arguments}");
        }
        let (broken, _) = asked(Find, b"\xee\"x");
        assert_eq!(String::from_utf8(broken).unwrap().matches('\u{fffd}').count(), 1);
        assert_eq!(unknown(Open), br#"{"action":{"type":"open_page"}}"#);
    }
}
