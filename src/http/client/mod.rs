//! The chat client at `/`: the files of this folder, which talk to the service by its public GraphQL alone. They are
//! served as they are, but for comments, margins and blanks that browsers need not, which only cost those who download
//! them.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::Service;
use super::pages::page_with_policy;

const PAGE: &str = include_str!("index.html");
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

struct File {
    name: &'static str,
    kind: &'static str,
    text: String,
    etag: HeaderValue,
}

macro_rules! files {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        [$(File::of($name, $kind, include_str!($name))),+]
    };
}

static FILES: LazyLock<[File; 16]> = LazyLock::new(|| {
    files! {
        "style.css": STYLE,
        "icon.svg": "image/svg+xml",
        "main.js": SCRIPT,
        "session.js": SCRIPT,
        "graphql.js": SCRIPT,
        "chat.js": SCRIPT,
        "outbox.js": SCRIPT,
        "rows.js": SCRIPT,
        "swipe.js": SCRIPT,
        "conversation.js": SCRIPT,
        "people.js": SCRIPT,
        "section.js": SCRIPT,
        "dom.js": SCRIPT,
        "words.js": SCRIPT,
        "en.js": SCRIPT,
        "fr.js": SCRIPT,
    }
});

impl File {
    fn of(name: &'static str, kind: &'static str, source: &str) -> Self {
        let text = match kind {
            SCRIPT => shorter(without_comments(source), &[(";\n", ";"), ("{\n", "{"), (",\n", ","), ("\n}", "}"), (" => ", "=>"), (" = ", "=")]),
            STYLE => {
                shorter(without_margin(source), &[(": ", ":"), ("; ", ";"), (", ", ","), (" { ", "{"), (" }", "}"), (";}", "}"), ("}\n", "}"), ("{\n", "{")])
            }
            _ => source.to_owned(),
        };
        let etag = format!("\"{:x}\"", Sha256::digest(&text));
        Self { name, kind, text, etag: HeaderValue::from_str(&etag).expect("hexadecimal digits") }
    }
}

/// The page. It says how one signs in, and whose pages may embed it and hand over a token.
pub(super) async fn page(State(service): State<Service>) -> Response {
    let origins = service.0.origins.iter().filter_map(|origin| origin.to_str().ok()).collect::<Vec<_>>().join(" ");
    let page = PAGE.replace("{{sign-in}}", if service.0.development.is_some() { "name" } else { "token" }).replace("{{origins}}", &origins);
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'self' {origins}; require-trusted-types-for 'script'"
    );
    page_with_policy(page, &policy).into_response()
}

/// A file of the client.
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else { return StatusCode::NOT_FOUND.into_response() };
    let about: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(file.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::ETAG, file.etag.clone()),
    ];
    if is_known(&headers, &file.etag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, file.text.as_str()).into_response()
}

/// Whether one of the versions that a client has is this one, compared weakly (RFC 9110, 13.1.2).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// A script without comments that stand alone, types, and the margin. No string of the scripts looks like one of them.
fn without_comments(script: &str) -> String {
    let mut text = String::with_capacity(script.len());
    let mut rest = script;
    while let Some((before, after)) = rest.split_once("/**") {
        text.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after.strip_prefix(' ').unwrap_or(after));
    }
    text.push_str(rest);
    without_margin(&text)
}

fn without_margin(text: &str) -> String {
    let is_said = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("/*");
    text.lines().map(str::trim).filter(is_said).fold(String::new(), |text, line| text + line + "\n")
}

/// Without blanks and ends of lines that nothing needs. No string of the scripts has one of them where it matters.
fn shorter(text: String, ways: &[(&str, &str)]) -> String {
    ways.iter().fold(text, |text, (long, short)| text.replace(long, short))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What everybody loads, in bytes.
    const MOST: usize = 60_000;

    #[test]
    fn the_client_is_small() {
        // The other language, and the back office, which administrators load when they open it.
        let one_language = FILES.iter().filter(|file| !["en.js", "section.js"].contains(&file.name));
        let size = PAGE.len() + one_language.map(|file| file.text.len()).sum::<usize>();
        assert!(size < MOST, "{size}");
    }

    #[test]
    fn a_version_that_is_known_is_not_sent_again() {
        let etag = HeaderValue::from_static("\"ab12\"");
        let knows = |list: &'static str| is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(list))]), &etag);
        for list in ["\"ab12\"", "W/\"ab12\"", "\"cd\", \"ab12\"", "\"cd\",W/\"ab12\"", "*"] {
            assert!(knows(list), "{list}");
        }
        for list in ["\"cd\"", "ab12", ""] {
            assert!(!knows(list), "{list}");
        }
        assert!(!is_known(&HeaderMap::new(), &etag));
    }

    #[test]
    fn comments_stay_here() {
        let script =
            "// What it is for.\n\n/**\n * A sum.\n * @param {number} a\n */\nconst f = (/** @type {number} */ a) => {\n  // Why.\n  return a / 2;\n};\n";
        assert_eq!(without_comments(script), "const f = (a) => {\nreturn a / 2;\n};\n");
        for file in FILES.iter() {
            assert!(!file.text.contains("/**") && !file.text.contains(" * @"), "{}", file.name);
        }
    }
}
