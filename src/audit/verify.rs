//! Whether a log is what it was: every event hashed anew, against what was kept when it was appended, against the tree
//! that is kept with the log, and against checkpoints that somebody else has.

use std::collections::HashMap;
use std::fmt;

use uuid::Uuid;

use super::checkpoint::Checkpoint;
use crate::domain::event::{Position, Timestamp};
use crate::event_log::copy::{CopyError, Source};
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::{EventLog, LogError, StoredEvent};

/// Events read at once.
const WINDOW: usize = 4_096;
/// Findings that are told; the others are counted.
const TOLD: usize = 100;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An event is not what was appended.
    Changed { position: Position, id: Uuid },
    /// An event does not follow the one before it in its stream.
    OutOfOrder { position: Position, id: Uuid, stream: String, version: u64, after: u64 },
    /// An event is not later than the one before it in the log.
    Earlier { position: Position, id: Uuid },
    /// This version cannot read an event.
    Unreadable { position: Position, id: Uuid, reason: String },
    /// The tree that is kept with the log has more events than the log.
    Missing { kept: u64, found: u64 },
    /// The tree that is kept with the log is of other events.
    OtherTree { size: u64 },
    /// A checkpoint is of more events than the log has: some were lost, or the log is from before it.
    BeforeCheckpoint { size: u64, found: u64 },
    /// The log's first events are not those of a checkpoint.
    OtherThanCheckpoint { size: u64 },
    /// A checkpoint is of a log with another name.
    OtherLog { origin: String },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { position, id } => write!(f, "the event {id} at position {position} is not what was appended"),
            Self::OutOfOrder { position, id, stream, version, after } => {
                write!(f, "the event {id} at position {position} is version {version} of {stream} and comes after version {after}")
            }
            Self::Earlier { position, id } => write!(f, "the event {id} at position {position} is not later than the one before it"),
            Self::Unreadable { position, id, reason } => write!(f, "the event {id} at position {position} cannot be read: {reason}"),
            Self::Missing { kept, found } => write!(f, "{kept} events were appended and {found} are there"),
            Self::OtherTree { size } => write!(f, "the first {size} events are not those that the kept tree was made of"),
            Self::BeforeCheckpoint { size, found } => {
                write!(f, "the checkpoint is of {size} events and {found} are there: events were lost, or an older log was restored")
            }
            Self::OtherThanCheckpoint { size } => write!(f, "the first {size} events are not those of the checkpoint: one was changed, dropped or moved"),
            Self::OtherLog { origin } => write!(f, "the checkpoint is of another log, {origin}"),
        }
    }
}

/// How a log stands to a checkpoint that it agrees with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    Equal,
    /// It goes on from there.
    Extended,
}

/// What a look at the whole log found.
#[derive(Debug, Default)]
pub struct Verified {
    pub tree: Frontier,
    /// The first hundred or so.
    pub findings: Vec<Finding>,
    pub more_findings: u64,
    /// Of each checkpoint, in the order in which they were given; none where the log does not agree.
    pub agreements: Vec<Option<Agreement>>,
    /// Events whose leaf was not kept when they were appended: only the tree and checkpoints speak for them.
    pub without_leaf: u64,
}

impl Verified {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < TOLD { self.findings.push(finding) } else { self.more_findings += 1 }
    }
}

/// What was kept with a log besides its events.
struct Kept<'a> {
    log: &'a EventLog,
    tree: Option<Frontier>,
}

/// Verifies a log. `origin` is its name in checkpoints; `told` hears of every window.
///
/// # Errors
/// When the log cannot be read, or has a hole.
pub async fn verify(log: &EventLog, origin: &str, checkpoints: &[Checkpoint], told: impl FnMut(Position)) -> Result<Verified, CopyError> {
    let kept = Kept { log, tree: log.kept_tree().await? };
    run(log.whole(), Some(kept), Some(origin), checkpoints, told).await
}

/// Verifies an export, for which only checkpoints speak.
///
/// # Errors
/// When it cannot be read.
pub async fn verify_source(source: impl Source, checkpoints: &[Checkpoint], told: impl FnMut(Position)) -> Result<Verified, CopyError> {
    run(source, None, None, checkpoints, told).await
}

async fn run(
    mut source: impl Source,
    kept: Option<Kept<'_>>,
    origin: Option<&str>,
    checkpoints: &[Checkpoint],
    mut told: impl FnMut(Position),
) -> Result<Verified, CopyError> {
    let mut run = Run { verified: Verified::default(), versions: HashMap::new(), before: None };
    // What was kept may grow meanwhile: the tree is compared where it was at the beginning.
    let kept_tree = kept.as_ref().and_then(|kept| kept.tree.clone());
    let mut roots: Vec<Option<Hash>> = checkpoints.iter().map(|checkpoint| (checkpoint.size == 0).then(Hash::of_nothing)).collect();
    let mut kept_root = kept_tree.as_ref().and_then(|tree| (tree.size() == 0).then(Hash::of_nothing));
    loop {
        let window = source.next(WINDOW).await?;
        let Some(last) = window.last().map(|event| event.position) else { break };
        let leaves = match &kept {
            Some(kept) => kept.log.kept_leaves(run.before.unwrap_or_default().0, window.len()).await?,
            None => vec![],
        };
        for (n, event) in window.iter().enumerate() {
            run.look(event, leaves.get(n).copied().flatten(), kept.as_ref().is_some_and(|kept| kept.tree.is_some()));
            let size = run.verified.tree.size();
            for (root, checkpoint) in roots.iter_mut().zip(checkpoints) {
                if checkpoint.size == size {
                    *root = Some(run.verified.tree.root());
                }
            }
            if kept_tree.as_ref().is_some_and(|tree| tree.size() == size) {
                kept_root = Some(run.verified.tree.root());
            }
        }
        told(last);
    }
    let mut verified = run.verified;
    if let Some(tree) = kept_tree {
        match kept_root {
            None => verified.find(Finding::Missing { kept: tree.size(), found: verified.tree.size() }),
            Some(root) if root != tree.root() => verified.find(Finding::OtherTree { size: tree.size() }),
            Some(_) => {}
        }
    }
    for (checkpoint, root) in checkpoints.iter().zip(roots) {
        let found = verified.tree.size();
        let finding = match root {
            _ if origin.is_some_and(|origin| origin != checkpoint.origin) => Finding::OtherLog { origin: checkpoint.origin.clone() },
            None => Finding::BeforeCheckpoint { size: checkpoint.size, found },
            Some(root) if root != checkpoint.root => Finding::OtherThanCheckpoint { size: checkpoint.size },
            Some(_) => {
                verified.agreements.push(Some(if checkpoint.size == found { Agreement::Equal } else { Agreement::Extended }));
                continue;
            }
        };
        verified.agreements.push(None);
        verified.find(finding);
    }
    Ok(verified)
}

struct Run {
    verified: Verified,
    versions: HashMap<String, u64>,
    before: Option<(Position, Timestamp)>,
}

impl Run {
    fn look(&mut self, event: &StoredEvent, kept: Option<Hash>, keeps_leaves: bool) {
        let (position, id) = (event.position, event.id);
        let leaf = Hash::of_leaf(event);
        self.verified.tree.push(leaf);
        match kept {
            Some(kept) if kept != leaf => self.verified.find(Finding::Changed { position, id }),
            Some(_) => {}
            None => self.verified.without_leaf += u64::from(keeps_leaves),
        }
        let version = self.versions.entry(event.stream.clone()).or_default();
        let after = std::mem::replace(version, event.version);
        if event.version != after + 1 {
            let (stream, version) = (event.stream.clone(), event.version);
            self.verified.find(Finding::OutOfOrder { position, id, stream, version, after });
        }
        if keeps_leaves && self.before.is_some_and(|(_, at)| event.at <= at) {
            self.verified.find(Finding::Earlier { position, id });
        }
        self.before = Some((position, event.at));
        if let Err(error) = event.check() {
            self.verified.find(Finding::Unreadable { position, id, reason: error.to_string() });
        }
    }
}

/// The tree of a log as it is now: what is kept, or made by reading all.
///
/// # Errors
/// When the log cannot be read.
pub async fn tree_of(log: &EventLog) -> Result<Frontier, LogError> {
    if let Some(tree) = log.kept_tree().await? {
        return Ok(tree);
    }
    let (mut tree, mut after) = (Frontier::default(), Position(0));
    loop {
        let events = log.read_all_stored(after, WINDOW).await?;
        let Some(last) = events.last() else { return Ok(tree) };
        after = last.position;
        tree.extend(events.iter().map(Hash::of_leaf));
    }
}
