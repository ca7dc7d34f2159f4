//! T3: web addresses, with a scheme, with `www.`, or as a bare host under a real top-level domain.

use std::borrow::Cow;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// Whether a text has a web address. An e-mail address is text, and so is a forgotten space.
pub(super) fn is_in(text: &str) -> bool {
    let text = without_disguise(text);
    text.contains("://") && has_scheme(&text) || hosts(&text).any(is_address)
}

/// Characters that nobody sees (Unicode's format characters) must not hide an address, nor must the
/// full stops that browsers take for a dot (UTS #46) between two ASCII letters or digits.
fn without_disguise(text: &str) -> Cow<'_, str> {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_invisible = |c: char| categories.get(c) == GeneralCategory::Format;
    let is_stop = |c: char| matches!(c, '\u{2024}' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    if text.is_ascii() || !text.chars().any(|c| is_invisible(c) || is_stop(c)) {
        return text.into();
    }
    let visible: Vec<char> = text.chars().filter(|&c| !is_invisible(c)).collect();
    let is_plain = |at: Option<usize>| at.and_then(|at| visible.get(at)).is_some_and(char::is_ascii_alphanumeric);
    let undisguised = |(at, &c): (usize, &char)| if is_stop(c) && is_plain(at.checked_sub(1)) && is_plain(Some(at + 1)) { '.' } else { c };
    visible.iter().enumerate().map(undisguised).collect::<String>().into()
}

/// `scheme://` followed by something (RFC 3986 §3.1).
fn has_scheme(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let mut run = text[..at].bytes().rev().take_while(|&b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
        // A scheme begins with a letter, whatever stands before that.
        let has_scheme = run.any(|b| b.is_ascii_alphabetic());
        let follows = text[at + separator.len()..].chars().next();
        has_scheme && follows.is_some_and(|c| !c.is_whitespace())
    })
}

/// The runs of characters that could be a host, e-mail addresses left out.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(is_host_character(c) || LOCAL_PART.contains(c) || c == '@'))
        .map(after_email)
        .flat_map(|word| word.split(|c: char| !is_host_character(c)))
        .flat_map(|run| run.split(".."))
        .map(|run| run.trim_matches(['.', '-', '_']))
        .filter(|run| run.contains('.'))
}

/// What an e-mail address may have before its `@`, beside what a host has.
const LOCAL_PART: &str = "+%";

fn is_host_character(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c) || c == '.' || c == '-' || c == '_'
}

/// Combining marks belong to the letter before them.
fn is_mark(c: char) -> bool {
    use GeneralCategory::{NonspacingMark, SpacingMark};
    !c.is_ascii() && matches!(CodePointMapData::<GeneralCategory>::new().get(c), NonspacingMark | SpacingMark)
}

/// What is left of a word after `somebody@host.tld`; the whole word where it does not begin so.
fn after_email(word: &str) -> &str {
    let Some((local, domain)) = word.trim_start_matches('.').split_once('@') else { return word };
    let address = sentences(domain).next().unwrap_or_default();
    let labels: Vec<&str> = address.trim_end_matches('.').split('.').collect();
    let is_email = !local.is_empty() && is_host(&labels) && labels.iter().all(|label| is_label(label));
    if is_email { &domain[address.len()..] } else { word }
}

/// `www.x`, or a host whose last label is a real top-level domain.
fn is_address(run: &str) -> bool {
    let labels: Vec<&str> = run.split('.').collect();
    let is_www = |label: &&str| label.eq_ignore_ascii_case("www");
    labels[..labels.len() - 1].iter().any(is_www) || sentences(run).any(|part| is_host(&part.trim_matches('.').split('.').collect::<Vec<_>>()))
}

/// A capital after a dot, in a word that is not all in capitals, begins a new sentence: what stands
/// before it is looked at apart.
fn sentences(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(run);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let starts = text.match_indices('.').map(|(dot, _)| dot + 1).find(|&at| starts_sentence(text[at..].split('.').next().unwrap_or_default()));
        match starts {
            Some(at) => {
                rest = Some(&text[at..]);
                Some(&text[..at])
            }
            None => Some(text),
        }
    })
}

fn starts_sentence(word: &str) -> bool {
    word.starts_with(char::is_uppercase) && word.chars().any(char::is_lowercase)
}

fn is_host(labels: &[&str]) -> bool {
    match labels {
        [.., registered, top] => is_label(registered) && is_top_level_domain(top),
        _ => false,
    }
}

/// A label that can be registered: letters, digits and inner hyphens (RFC 1034 §3.5, and its Unicode forms).
fn is_label(label: &str) -> bool {
    let is_in_label = |c: char| is_host_character(c) && c != '.' && c != '_';
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(is_in_label)
}

/// Whether IANA's root zone has it. Internationalised ones are listed there in their ASCII form.
fn is_top_level_domain(label: &str) -> bool {
    match idna::domain_to_ascii(label) {
        Ok(ascii) => tld::exist(&ascii),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn t3_addresses_are_found() {
        for text in [
            "https://x",
            "voir HTTP://EXEMPLE",
            "ftp://10.0.0.1/a",
            "(https://exemple.fr)",
            "-https://x",
            "1.https://10.0.0.1",
            "voilà...https://localhost",
            "www.x",
            "WWW.Exemple.Fr",
            "www.exemple",
            "exemple.fr/page",
            "example.com",
            "EXEMPLE.FR",
            "Exemple.fr",
            "exemple.COM",
            "va sur exemple.co.uk, vite",
            "exemple.fr.",
            "exemple.fr...",
            "exemple.fr:8080",
            "«exemple.fr»",
            "l'exemple.fr",
            "пример.рф",
            "例え.みんな",
            "xn--e1afmkfd.xn--p1ai",
            "sous.domaine.exemple.fr",
            "@exemple.fr",
            "exemple.fr@",
            "moi@exemple.fr ou exemple.fr",
            "exem\u{200b}ple.f\u{200d}r",
            "_dmarc.exemple.fr",
            "C'est fini.Voir exemple.fr",
            "fini.Va.exemple.fr",
            "exemple.fr_",
            "exemple.fr-",
            "fini.www.exemple",
            "exemple。fr",
            "exemple．com",
            "exemple․fr",
            "a@exemple.fr.Voir.exemple.com",
            "a@b@exemple.fr/x exemple.fr",
            "a@b@exemple.com",
            "a@b+exemple.com",
            "a@b%exemple.com",
        ] {
            assert!(is_in(text), "{text}");
        }
    }

    #[test]
    fn t3_a_forgotten_space_a_number_and_an_email_are_text() {
        for text in [
            "fini.Merci",
            "voila.Je",
            "3.14",
            "etc...",
            "M.Dupont",
            "fini.Merci.Je pars",
            "jean.dupont@exemple.fr",
            "j+a@exemple.co.uk.",
            "a://",
            "://x",
            "12://x",
            "fin. de",
            "p.s.",
            "e.g. ça",
            "...",
            ".",
            "1.2.3.4",
            "oui..non",
            "a.bcdefgh",
            "-.fr",
            "un / deux : trois",
            "12:30",
            "www",
            "www.",
            "my_file.py",
            "écris à jean@exemple.fr.Merci",
            "jean@exemple.fr.",
            "你好。中国",
            "结束。好的",
        ] {
            assert!(!is_in(text), "{text}");
        }
    }
}
