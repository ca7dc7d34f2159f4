//! Which media type to answer in (RFC 9110 §12.5.1; GraphQL over HTTP).

use axum::http::{HeaderMap, HeaderValue, header};

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

/// What the client accepts best; `application/json` when it does not say; none when it accepts neither.
pub(super) fn accepted(headers: &HeaderMap) -> Option<MediaType> {
    let mut best: Option<(f32, MediaType)> = None;
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',').filter(|range| !range.trim().is_empty()) {
            asked = true;
            let (name, quality) = media_range(range);
            let media_type = match name.as_str() {
                "application/graphql-response+json" => MediaType::GraphqlResponse,
                "application/json" | "application/*" | "*/*" => MediaType::Json,
                _ => continue,
            };
            if quality > best.map_or(0.0, |(quality, _)| quality) {
                best = Some((quality, media_type));
            }
        }
    }
    if asked { best.map(|(_, media_type)| media_type) } else { Some(MediaType::Json) }
}

/// A media range's name and its weight. An unreadable weight is 1.
fn media_range(range: &str) -> (String, f32) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(accept: &str) -> Option<MediaType> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"))]);
        accepted(&headers)
    }

    #[test]
    fn the_best_accepted_type_is_chosen() {
        use MediaType::{GraphqlResponse, Json};
        assert_eq!(accepted(&HeaderMap::new()), Some(Json));
        assert_eq!(accepting("*/*"), Some(Json));
        assert_eq!(accepting("application/graphql-response+json, application/json;q=0.9"), Some(GraphqlResponse));
        assert_eq!(accepting("application/graphql-response+json;q=0.5, application/json"), Some(Json));
        assert_eq!(accepting("Application/JSON; charset=utf-8"), Some(Json));
        assert_eq!(accepting("text/html"), None);
        assert_eq!(accepting("application/json;q=0"), None);
    }

    #[test]
    fn a_body_is_json_in_utf_8() {
        let is_json_type = |value| is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]));
        assert!(is_json_type("application/json") && is_json_type("Application/JSON; charset=UTF-8"));
        assert!(!is_json_type("text/plain") && !is_json_type("application/json; charset=latin1") && !is_json(&HeaderMap::new()));
    }
}
