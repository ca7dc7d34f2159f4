//! Whether the stored views are what the log says: the log folded anew beside them, up to where they stand, and
//! compared row by row.

use std::cmp::Ordering;
use std::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::app::catching_up::{MEMORY, fold_up_to};
use crate::app::following::ProjectorError;
use crate::domain::event::{Position, Timestamp};
use crate::event_log::{EventLog, LogError};
use crate::projections::{ALL, Shape};
use crate::read_store::snapshot::{Cell, ProjectionState, Snapshot, StoredRow};
use crate::read_store::{OpenError, ReadStore, StoreError};
use crate::storage::StoreUrl;

/// Rows compared at once.
const WINDOW: usize = 2_000;
/// Stretches of a table that are compared, where not all of it is.
const SAMPLES: u64 = 20;
/// Differences that are told; the others are counted.
const TOLD: usize = 100;

/// Why views could not be compared.
#[derive(Debug, Error)]
pub enum ViewsError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Projector(#[from] ProjectorError),
    #[error("a folder for the comparison could not be made")]
    Folder(#[from] std::io::Error),
    #[error("the views were made from another log, or from events that the log does not have (position {0})")]
    OtherLog(Position),
    #[error("nobody has tried again in a minute: is the service that has these views frozen?")]
    NobodyTries,
    #[error("the views are being made anew by another process")]
    IsBeingRebuilt,
    #[error("the views of {0} were made by another version of it: start the service of this version once")]
    OtherVersion(String),
    #[error("the views cannot be folded on: start the service, which makes them anew")]
    MadeAnew,
}

/// Where a projection stands to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub name: String,
    pub position: Position,
    pub head: Position,
    /// Events that are not folded yet.
    pub behind: u64,
    /// When the first of them was appended.
    pub waiting_since: Option<Timestamp>,
    pub version: i64,
    /// SHA-256 of its table's definition.
    pub sql_hash: String,
    /// Whether this build has the same projection.
    pub is_current: bool,
}

/// Where each projection stands.
///
/// # Errors
/// When the views or the log cannot be read.
pub async fn status(log: &EventLog, views: &StoreUrl) -> Result<Vec<Status>, ViewsError> {
    let states = Snapshot::open(views).await?.projections().await?;
    let head = log.latest().await?;
    // They advance together.
    let position = states.iter().map(|state| state.position).min().unwrap_or_default();
    let (behind, waiting_since) = left_to_fold(log, position).await?;
    let described = |state: ProjectionState| Status {
        is_current: state.is_current(),
        sql_hash: hash(&state.sql),
        name: state.name,
        position: state.position,
        head,
        behind,
        waiting_since,
        version: state.version,
    };
    Ok(states.into_iter().map(described).collect())
}

/// How many events come after a position, and when the first of them was appended.
async fn left_to_fold(log: &EventLog, position: Position) -> Result<(u64, Option<Timestamp>), ViewsError> {
    let (mut count, mut since, mut after) = (0, None, position);
    loop {
        let events = log.read_all_stored(after, WINDOW).await?;
        let Some(last) = events.last() else { return Ok((count, since)) };
        after = last.position;
        since = since.or(events.first().map(|event| event.at));
        count += events.len() as u64;
    }
}

fn hash(sql: &str) -> String {
    format!("{:x}", Sha256::digest(sql))
}

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Nothing,
    /// The counts, and stretches of each table.
    Samples,
    Everything,
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The log makes a row that is not stored.
    Missing { table: &'static str, row: StoredRow },
    /// A row is stored that the log does not make.
    Surplus { table: &'static str, row: StoredRow },
    /// There are not as many rows.
    Count { table: &'static str, stored: u64, made: u64 },
    /// The stored row differs.
    Other { table: &'static str, stored: StoredRow, made: StoredRow },
}

impl Difference {
    /// The table that it is in.
    #[must_use]
    pub fn table(&self) -> &'static str {
        match self {
            Self::Missing { table, .. } | Self::Surplus { table, .. } | Self::Count { table, .. } | Self::Other { table, .. } => table,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write_row = |f: &mut fmt::Formatter<'_>, row: &StoredRow| row.iter().try_for_each(|(name, cell)| write!(f, " {name}={cell}"));
        match self {
            Self::Missing { table, row } => {
                write!(f, "{table}: missing:")?;
                write_row(f, row)
            }
            Self::Surplus { table, row } => {
                write!(f, "{table}: not in the log:")?;
                write_row(f, row)
            }
            Self::Count { table, stored, made } => write!(f, "{table}: {stored} rows stored; by the log: {made}"),
            Self::Other { table, stored, made } => {
                write!(f, "{table}: stored:")?;
                write_row(f, stored)?;
                write!(f, "; by the log:")?;
                let differing = made.iter().filter(|(name, cell)| !stored.iter().any(|(other, stored)| other == name && stored == cell));
                differing.into_iter().try_for_each(|(name, cell)| write!(f, " {name}={cell}"))
            }
        }
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Up to where the views were folded.
    pub position: Position,
    /// Rows that there are, by table.
    pub rows: Vec<(&'static str, u64)>,
    /// The first hundred.
    pub differences: Vec<Difference>,
    pub more_differences: u64,
    /// Whether only stretches of the larger tables were compared.
    pub is_sampled: bool,
}

impl Compared {
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    fn differ(&mut self, difference: Difference) {
        if self.differences.len() < TOLD { self.differences.push(difference) } else { self.more_differences += 1 }
    }
}

/// Compares the stored views with the log, as both are at one moment. The rows that the log makes are kept in a
/// temporary file meanwhile. `told` hears how far the log is folded.
///
/// # Errors
/// [`ViewsError`]
pub async fn compare(log: &EventLog, views: &StoreUrl, node: Uuid, told: impl FnMut(Position)) -> Result<Compared, ViewsError> {
    let stored = Snapshot::open(views).await?;
    let states = stored.projections().await?;
    for state in &states {
        if !state.is_current() {
            return Err(ViewsError::OtherVersion(state.name.clone()));
        }
        let is_known = state.position == Position(0) || log.at(state.position).await?.is_some_and(|event| event.id == state.event);
        if state.log != log.id() || !is_known {
            return Err(ViewsError::OtherLog(state.position));
        }
    }
    let position = states.iter().map(|state| state.position).max().unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("entrenous-verify").tempdir()?;
    let made_at = StoreUrl::Sqlite(folder.path().join("views.db"));
    let store = ReadStore::open(&made_at, log.id()).await?;
    fold_up_to(log, &store, node, position, MEMORY, told).await?;
    compare_all(&stored, &Snapshot::open(&made_at).await?, position, Extent::Everything).await
}

/// Compares two generations that are folded up to the same position.
pub(super) async fn compare_all(stored: &Snapshot, made: &Snapshot, position: Position, extent: Extent) -> Result<Compared, ViewsError> {
    let mut compared = Compared { position, ..Compared::default() };
    for shape in &ALL {
        let counts = (stored.count(shape).await?, made.count(shape).await?);
        compared.rows.push((shape.name, counts.0.max(counts.1)));
        if extent == Extent::Everything || counts.0 <= SAMPLES * WINDOW as u64 {
            compare_tables(shape, (stored, made), None, u64::MAX, &mut compared).await?;
            continue;
        }
        compared.is_sampled = true;
        if counts.0 != counts.1 {
            compared.differ(Difference::Count { table: shape.name, stored: counts.0, made: counts.1 });
        }
        for sample in 0..SAMPLES {
            let after = made.key_at(shape, counts.1 / SAMPLES * sample).await?;
            compare_tables(shape, (stored, made), after, WINDOW as u64, &mut compared).await?;
        }
    }
    Ok(compared)
}

/// Both tables in the order of their keys, side by side: so many rows after a key.
async fn compare_tables(
    shape: &'static Shape,
    (stored, made): (&Snapshot, &Snapshot),
    after: Option<Vec<Cell>>,
    most: u64,
    compared: &mut Compared,
) -> Result<(), StoreError> {
    let table = shape.name;
    let (mut stored, mut made) = (Rows::new(shape, stored, after.clone()), Rows::new(shape, made, after));
    for _ in 0..most {
        let order = match (stored.key().await?, made.key().await?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some(made)) => stored.cmp(&made),
        };
        match order {
            Ordering::Less => compared.differ(Difference::Surplus { table, row: stored.take() }),
            Ordering::Greater => compared.differ(Difference::Missing { table, row: made.take() }),
            Ordering::Equal => {
                let (stored, made) = (stored.take(), made.take());
                if stored != made {
                    compared.differ(Difference::Other { table, stored, made });
                }
            }
        }
    }
    Ok(())
}

/// A table's rows, one after the other.
struct Rows<'a> {
    shape: &'a Shape,
    snapshot: &'a Snapshot,
    /// The next last.
    read: Vec<StoredRow>,
    last: Option<Vec<Cell>>,
    is_over: bool,
}

impl<'a> Rows<'a> {
    fn new(shape: &'a Shape, snapshot: &'a Snapshot, after: Option<Vec<Cell>>) -> Self {
        Self { shape, snapshot, read: vec![], last: after, is_over: false }
    }

    /// The next row's key; none at the end.
    async fn key(&mut self) -> Result<Option<Vec<Cell>>, StoreError> {
        if self.read.is_empty() && !self.is_over {
            let mut rows = self.snapshot.rows(self.shape, self.last.as_deref(), WINDOW).await?;
            self.is_over = rows.len() < WINDOW;
            rows.reverse();
            self.last = rows.first().map(|row| key_of(self.shape, row));
            self.read = rows;
        }
        Ok(self.read.last().map(|row| key_of(self.shape, row)))
    }

    fn take(&mut self) -> StoredRow {
        self.read.pop().unwrap_or_default()
    }
}

fn key_of(shape: &Shape, row: &StoredRow) -> Vec<Cell> {
    let cell = |name: &&str| row.iter().find(|(column, _)| column == name).map_or(Cell::Null, |(_, cell)| cell.clone());
    shape.key.iter().map(cell).collect()
}
