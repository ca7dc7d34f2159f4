//! What to answer in: the media type (RFC 9110 §12.5.1; GraphQL over HTTP) and the language.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::graphql::Language;

/// The two media types of a GraphQL response. The newer uses status codes; with the older, whatever
/// could be understood as a GraphQL request is answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    GraphqlResponse,
    Json,
}

impl MediaType {
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }
}

/// How the client wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Json(MediaType),
    /// Server-sent events.
    EventStream,
}

impl Accepted {
    /// The media type of what is no stream after all.
    pub(super) fn for_errors(self) -> MediaType {
        match self {
            Self::Json(media_type) => media_type,
            Self::EventStream => MediaType::Json,
        }
    }
}

/// What the client accepts best; `application/json` when it does not say; none when it accepts nothing
/// that there is.
pub(super) fn accepted(headers: &HeaderMap) -> Option<Accepted> {
    let mut best: Option<(f32, Accepted)> = None;
    let mut asked = false;
    for range in ranges(headers, header::ACCEPT) {
        asked = true;
        let (name, quality) = weighted(range);
        let accepted = match name.as_str() {
            "application/graphql-response+json" => Accepted::Json(MediaType::GraphqlResponse),
            "application/json" | "application/*" | "*/*" => Accepted::Json(MediaType::Json),
            "text/event-stream" => Accepted::EventStream,
            _ => continue,
        };
        if quality > best.map_or(0.0, |(quality, _)| quality) {
            best = Some((quality, accepted));
        }
    }
    if asked { best.map(|(_, accepted)| accepted) } else { Some(Accepted::Json(MediaType::Json)) }
}

/// The language that the client prefers (RFC 9110 §12.5.4); English when it prefers none that there is.
pub(super) fn language(headers: &HeaderMap) -> Language {
    let mut best = (0.0, Language::default());
    for range in ranges(headers, header::ACCEPT_LANGUAGE) {
        let (name, quality) = weighted(range);
        if let Some(language) = Language::of_range(&name).filter(|_| quality > best.0) {
            best = (quality, language);
        }
    }
    best.1
}

/// The comma-separated members of a header, wherever they are.
fn ranges(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter(|range| !range.trim().is_empty())
}

/// A range's name and its weight. An unreadable weight is 1.
fn weighted(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
    (name, weight.and_then(|weight| weight.parse().ok()).unwrap_or(1.0))
}

/// Whether a request's body is JSON in UTF-8.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => charset.trim_matches('"').eq_ignore_ascii_case("utf-8"),
        _ => true,
    };
    json && parts.all(utf8)
}

/// Whether a request's body is packed. None is unpacked: a small one could become of any size.
pub(super) fn is_packed(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &str) -> Option<Accepted> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"))]);
        accepted(&headers)
    }

    #[test]
    fn the_best_accepted_type_is_chosen() {
        let (graphql_response, json) = (Accepted::Json(MediaType::GraphqlResponse), Accepted::Json(MediaType::Json));
        assert_eq!(accepted(&HeaderMap::new()), Some(json));
        assert_eq!(accepting("*/*"), Some(json));
        assert_eq!(accepting("application/graphql-response+json, application/json;q=0.9"), Some(graphql_response));
        assert_eq!(accepting("application/graphql-response+json;q=0.5, application/json"), Some(json));
        assert_eq!(accepting("Application/JSON; charset=utf-8"), Some(json));
        assert_eq!(accepting("text/event-stream"), Some(Accepted::EventStream));
        assert_eq!(accepting("text/event-stream;q=0.1, */*"), Some(json));
        assert_eq!(accepting("text/html"), None);
        assert_eq!(accepting("application/json;q=0"), None);
    }

    #[test]
    fn the_best_known_language_is_chosen() {
        let preferring = |value| language(&HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(value))]));
        assert_eq!(language(&HeaderMap::new()), Language::English);
        for french in ["fr", "FR-ch", "de, fr;q=0.8, en;q=0.7", "en;q=0.5, fr-FR"] {
            assert_eq!(preferring(french), Language::French, "{french}");
        }
        for english in ["en", "de", "*", "en-GB, fr", "fr;q=0, en;q=0.1", "fr;q=0"] {
            assert_eq!(preferring(english), Language::English, "{english}");
        }
    }

    #[test]
    fn a_body_is_json_in_utf_8() {
        let is_json_type = |value| is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]));
        assert!(is_json_type("application/json") && is_json_type("Application/JSON; charset=UTF-8"));
        assert!(!is_json_type("text/plain") && !is_json_type("application/json; charset=latin1") && !is_json(&HeaderMap::new()));
    }
}
