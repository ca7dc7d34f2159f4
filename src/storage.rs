//! Where data is kept, whatever keeps it: addresses of stores, why one cannot be opened, and how long
//! to wait before one that cannot be reached is tried again.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The address of an event log or a read store.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:FILE`
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(String),
    /// `esdb://…` or `kurrentdb://…`, with or without `+discover`.
    Kurrent(String),
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !matches!(path, "" | "//") => Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(url.to_owned())),
            Some(("esdb" | "esdb+discover" | "kurrentdb" | "kurrentdb+discover", rest)) if rest.starts_with("//") => Ok(Self::Kurrent(url.to_owned())),
            _ => Err("a store is `sqlite:FILE`, `postgres://…`, `esdb://…` or `kurrentdb://…`"),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) | Self::Kurrent(url) => f.write_str(&without_secrets(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The scheme, the hosts and the path: neither who signs in nor any option. Where it cannot be told which is which, nothing.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let shown = match (rest.rfind('@'), rest.find('?')) {
        (Some(at), Some(question)) if question < at => "…",
        (at, question) => &rest[at.map_or(0, |at| at + 1)..question.unwrap_or(rest.len())],
    };
    format!("{scheme}://{shown}")
}

/// Why a store cannot be used. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{place} is in use by another process{}", in_parentheses(.holder))]
    InUse { place: String, holder: String },
    #[error("{place} is not {what} of this service")]
    Foreign { place: String, what: &'static str },
    #[error("{place} was written by a newer version of this service (format {found}, this one knows {known}): start that version, or restore a backup")]
    Newer { place: String, found: i64, known: i64 },
    #[error("{place} is damaged ({detail}): restore it from a backup")]
    Damaged { place: String, detail: String },
    #[error(
        "the views in {place} were made from events that this event log does not have: restore that log, or delete these views (the file; in PostgreSQL the schema entrenous_views alone) to accept the log as it is"
    )]
    Diverged { place: String },
    #[error("{place} does not hold the keys of {log}: name the key store that belongs to it with --keys, or restore it from its backup")]
    OtherKeys { place: String, log: String },
    #[error("a log in {place} needs a place for its keys: name a file or a PostgreSQL database with --keys")]
    NoKeys { place: String },
    #[error("{place} cannot be opened: {error}")]
    Io { place: String, error: io::Error },
    #[error("{place} cannot be opened: {error}")]
    Sqlite { place: String, error: rusqlite::Error },
    /// Not now, or not with this address.
    #[error("{place} cannot be reached: {reason}")]
    Unreachable { place: String, reason: String },
}

impl OpenError {
    /// Refuses a format that is newer than the last of these migrations.
    pub(crate) fn unless_known(migrations: &refinery::Runner, found: i64, place: impl FnOnce() -> String) -> Result<(), Self> {
        let known = migrations.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0);
        if found > known { Err(Self::Newer { place: place(), found, known }) } else { Ok(()) }
    }
}

fn in_parentheses(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" ({holder})") }
}

/// Ever longer waits between attempts to reach a store.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }

    /// It was reached: the next wait is a short one again.
    pub(crate) fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_its_scheme_and_shown_without_its_password() {
        let shown = |url: &str| url.parse::<StoreUrl>().map(|url| format!("{url} {url:?}"));
        assert_eq!(shown("sqlite:a/b.db"), Ok("a/b.db a/b.db".to_owned()));
        assert_eq!(shown("sqlite:///a/b.db"), Ok("/a/b.db /a/b.db".to_owned()));
        assert_eq!(shown("postgres://me:se%40cret@db:5432/chat?password=secret"), Ok("postgres://db:5432/chat postgres://db:5432/chat".to_owned()));
        assert_eq!(shown("esdb+discover://admin:changeit@a:1,b:2?tls=false"), Ok("esdb+discover://a:1,b:2 esdb+discover://a:1,b:2".to_owned()));
        assert_eq!(shown("postgres://me:se?cret@db:5432/chat"), Ok("postgres://… postgres://…".to_owned()), "a password, or an option?");
        for wrong in ["", "sqlite:", "sqlite://", "events.db", "mysql://a", "postgres:a"] {
            assert!(shown(wrong).is_err(), "{wrong:?}");
        }
    }
}
