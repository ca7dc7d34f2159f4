//! Escapes of characters beyond the basic plane in a document's strings (§2.9.4): `\u{1F600}`, and
//! surrogate pairs as `JSON.stringify` and others write them. The parser knows neither, so the character
//! itself is put in their place.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The document as the parser understands it.
pub(super) fn for_parser(document: &str) -> Cow<'_, str> {
    if document.contains("\\u") { Cow::Owned(rewritten(document)) } else { Cow::Borrowed(document) }
}

fn rewritten(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(at) = rest.find(['#', '"']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = if from.starts_with('#') {
            from.find(['\n', '\r']).unwrap_or(from.len())
        } else if from.starts_with("\"\"\"") {
            block_string_end(from)
        } else {
            string_end(from)
        };
        let (token, after) = from.split_at(end);
        if token.starts_with('"') && !token.starts_with("\"\"\"") {
            string(token, &mut out);
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Where a string ends: after its quote, or at the end of its line.
fn string_end(from: &str) -> usize {
    let mut escaped = false;
    for (at, c) in from.char_indices().skip(1) {
        match c {
            '\n' | '\r' => return at,
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    from.len()
}

fn block_string_end(from: &str) -> usize {
    let mut at = 3;
    while let Some(found) = from[at..].find("\"\"\"") {
        let end = at + found;
        if !from[..end].ends_with('\\') {
            return end + 3;
        }
        at = end + 3;
    }
    from.len()
}

/// Copies a string, its long escapes replaced. What is no escape is left for the parser to refuse.
fn string(token: &str, out: &mut String) {
    let mut rest = token;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if let Some((c, length)) = long_escape(rest) {
            if c.is_ascii() {
                let _never_fails = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
            length
        } else {
            let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
}

/// The character of `\u{…}` or of a surrogate pair, and the length of its escape.
fn long_escape(text: &str) -> Option<(char, usize)> {
    if let Some(braced) = text.strip_prefix("\\u{") {
        let digits = braced.split_once('}')?.0;
        let c = char::from_u32(u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?)?;
        return Some((c, digits.len() + 4));
    }
    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok();
    let pair = [unit(0)?, unit(6)?];
    let mut decoded = char::decode_utf16(pair);
    let c = decoded.next()?.ok()?;
    (c.len_utf16() == 2).then_some((c, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_escapes_become_their_character() {
        for (written, read) in [
            (r#"{ a(b: "\ud83d\ude00") }"#, r#"{ a(b: "😀") }"#),
            (r#"{ a(b: "x\uD835\uDC00\u00e9") }"#, "{ a(b: \"x\u{1d400}\\u00e9\") }"),
            (r#"{ a(b: "\u{1F600}\u{22}\u{e9}") }"#, "{ a(b: \"😀\\u0022é\") }"),
        ] {
            assert_eq!(for_parser(written), read);
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        for document in [
            r#"{ a(b: "\u00e9\n\"\\u{41}") }"#,
            r#"{ a(b: "\\ud83d\\ude00") } # "\ud83d\ude00"#,
            r#"{ a(b: """\ud83d\ude00 \""" \u{41}""") }"#,
            r#"{ a(b: "\ud83d") c(d: "\ude00\ud83d") }"#,
            r#"{ a(b: "\u{110000}\u{}\u{+41}\u{zz}") }"#,
            r#"{ a(b: "\u"#,
            "{ a(b: \"\\u{41\n}\") }",
            r#"{ a(b: """\u{41} "#,
        ] {
            assert_eq!(for_parser(document), document);
        }
    }
}
