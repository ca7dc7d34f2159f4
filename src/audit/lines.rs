//! The log as JSON Lines: one event a line, with everything needed to write it again, byte for byte.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use uuid::Uuid;

use crate::domain::event::{Position, Timestamp};
use crate::event_log::StoredEvent;
use crate::event_log::codec::{self, DecodeError};
use crate::event_log::copy::{CopyError, Source};
use crate::event_log::keys::{Keyring, Unlocked};

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    position: u64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    version: u64,
    id: Uuid,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    correlation_id: Uuid,
    causation_id: Uuid,
    #[serde(borrow, default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// Instead of data that is no JSON, or would not stay as it is.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    malformed_data: Option<Cow<'a, str>>,
    /// What people wrote in it is in clear, and not as it is stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    opened: bool,
}

/// Data that is there, `null` too.
fn given<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Writes events, a line each.
///
/// # Errors
/// When they cannot be written.
pub fn write(out: &mut impl Write, events: &[StoredEvent]) -> io::Result<()> {
    write_lines(out, events, false)
}

/// The same for events whose data were opened: lines to be looked at, which are no log.
///
/// # Errors
/// When they cannot be written.
pub fn write_opened(out: &mut impl Write, events: &[StoredEvent]) -> io::Result<()> {
    write_lines(out, events, true)
}

fn write_lines(out: &mut impl Write, events: &[StoredEvent], opened: bool) -> io::Result<()> {
    for event in events {
        let data = serde_json::from_str::<&RawValue>(&event.data).ok();
        let data = data.filter(|data| data.get().len() == event.data.len() && !event.data.contains('\n'));
        let line = Line {
            position: event.position.0,
            stream: (&*event.stream).into(),
            version: event.version,
            id: event.id,
            r#type: (&*event.kind).into(),
            at: event.at.to_string().into(),
            actor: event.actor.as_deref().map(Cow::Borrowed),
            correlation_id: event.correlation,
            causation_id: event.causation,
            data,
            malformed_data: data.is_none().then(|| (&*event.data).into()),
            opened,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Why a line is no event.
#[derive(Debug, Error)]
pub(super) enum BadLine {
    #[error("it is not an event: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("`at` is not an instant")]
    Instant,
    #[error("it has no data")]
    Data,
    #[error("what people wrote in it is in clear: export the log again without --open")]
    Opened,
}

pub(super) fn parse(line: &str) -> Result<StoredEvent, BadLine> {
    let line: Line<'_> = serde_json::from_str(line)?;
    if line.opened {
        return Err(BadLine::Opened);
    }
    let at: jiff::Timestamp = line.at.parse().map_err(|_| BadLine::Instant)?;
    Ok(StoredEvent {
        position: Position(line.position),
        stream: line.stream.into_owned(),
        version: line.version,
        id: line.id,
        kind: line.r#type.into_owned(),
        at: Timestamp(at.as_microsecond()),
        actor: line.actor.map(Cow::into_owned),
        correlation: line.correlation_id,
        causation: line.causation_id,
        data: line.data.map(|data| data.get().to_owned()).or(line.malformed_data.map(Cow::into_owned)).ok_or(BadLine::Data)?,
    })
}

/// Why a file is no log.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is read twice, and so has to be a regular file")]
    NoFile,
    #[error("line {line}: the key {key} that opens it is not in the key store")]
    NoKey { line: u64, key: String },
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
}

/// A file of lines, read as a log.
pub struct Export {
    lines: io::Lines<BufReader<File>>,
    read: u64,
}

impl Export {
    /// Looks at the whole file first, and where keys are given, whether all that open it are among them. Returns how many events it has.
    ///
    /// # Errors
    /// When it cannot be read, a key is missing, or it is no log: a stream without its first events, an id twice, another order.
    pub fn check(path: &Path, keys: Option<&Keyring>) -> Result<u64, ExportError> {
        if !fs::metadata(path)?.is_file() {
            return Err(ExportError::NoFile);
        }
        let mut export = Self::open(path)?;
        let (mut versions, mut ids, mut position) = (HashMap::<String, u64>::new(), HashSet::new(), Position(0));
        while let Some(event) = export.next_event()? {
            let wrong = |reason: String| Err(ExportError::Line { line: export.read, reason });
            if event.position < position {
                return wrong(format!("position {} comes after {position}", event.position));
            }
            position = event.position;
            if !ids.insert(event.id) {
                return wrong(format!("the id {} is there twice", event.id));
            }
            let version = versions.entry(event.stream.clone()).or_default();
            if event.version != *version + 1 {
                return wrong(format!("version {} of {} comes after version {version}: a part of a stream cannot be imported", event.version, event.stream));
            }
            *version = event.version;
            if let Some(key) = keys.and_then(|keys| missing_key(&event, keys)) {
                return Err(ExportError::NoKey { line: export.read, key });
            }
        }
        Ok(export.read)
    }

    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { lines: BufReader::new(File::open(path)?).lines(), read: 0 })
    }

    fn next_event(&mut self) -> Result<Option<StoredEvent>, ExportError> {
        let Some(line) = self.lines.next().transpose()? else { return Ok(None) };
        self.read += 1;
        parse(&line).map(Some).map_err(|error| ExportError::Line { line: self.read, reason: error.to_string() })
    }
}

/// The name of the key that an event is sealed under, where nothing is known of it. Nothing is opened.
fn missing_key(event: &StoredEvent, keys: &Keyring) -> Option<String> {
    let unopened = |name: &str| match keys.unlocked(name) {
        Unlocked::Key(_) | Unlocked::Destroyed => Unlocked::Destroyed,
        Unlocked::Unknown => Unlocked::Unknown,
    };
    let Err(DecodeError::NoKey(name)) = codec::decode(&event.kind, &event.data, event.id, unopened) else { return None };
    Some(name)
}

impl Source for Export {
    async fn next(&mut self, limit: usize) -> Result<Vec<StoredEvent>, CopyError> {
        let mut events = Vec::new();
        while events.len() < limit
            && let Some(event) = self.next_event().map_err(|error| CopyError::Source(error.to_string()))?
        {
            events.push(event);
        }
        Ok(events)
    }
}
