//! Whether a log is what it was: every event hashed anew, against what was kept when it was appended, against the tree
//! that is kept with the log, and against checkpoints that somebody else has.

use std::collections::HashMap;
use std::fmt;

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use crate::domain::event::{Position, Timestamp};
use crate::event_log::copy::{CopyError, Source};
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::{EventLog, StoredEvent};

/// Events read at once.
const WINDOW: usize = 4_096;
/// Findings that are told; the others are counted.
const TOLD: usize = 100;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An event is not what was appended.
    Changed { position: Position, id: Uuid },
    /// An event's leaf is not kept, though that of an earlier one is.
    LeafRemoved { position: Position, id: Uuid },
    /// An event does not follow the one before it in its stream.
    OutOfOrder { position: Position, id: Uuid, stream: String, version: u64, after: u64 },
    /// An event is not later than the one before it in its stream; or in the log, where no leaf speaks for it.
    Earlier { position: Position, id: Uuid },
    /// This version cannot read an event.
    Unreadable { position: Position, id: Uuid, reason: String },
    /// The tree that is kept with the log has more events than the log.
    Missing { kept: u64, found: u64 },
    /// The tree that is kept with the log is of other events.
    OtherTree { size: u64 },
    /// The tree that is kept with the log is not of all its events.
    NotInTree { kept: u64, appended: u64 },
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
            Self::LeafRemoved { position, id } => write!(f, "the event {id} at position {position} has no leaf, and one before it has: its leaf was removed"),
            Self::OutOfOrder { position, id, stream, version, after } => {
                write!(f, "the event {id} at position {position} is version {version} of {stream} and comes after version {after}")
            }
            Self::Earlier { position, id } => write!(f, "the event {id} at position {position} is not later than the one before it"),
            Self::Unreadable { position, id, reason } => write!(f, "the event {id} at position {position} cannot be read: {reason}"),
            Self::Missing { kept, found } => write!(f, "{kept} events were appended and {found} are there"),
            Self::OtherTree { size } => write!(f, "the first {size} events are not those that the kept tree was made of"),
            Self::NotInTree { kept, appended } => write!(f, "{appended} events were appended and the kept tree is of {kept}: it was set back"),
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
    /// The first events, whose leaves were not kept when they were appended: only the tree and checkpoints speak for them.
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
    // Whoever appends meanwhile raises no alarm: the head is looked at first and the kept tree last, which has at least what was there then.
    let head = log.latest().await?;
    let kept = Kept { log, tree: log.kept_tree().await? };
    let mut verified = run(log.whole(), Some(kept), Some(origin), checkpoints, told).await?;
    if let Some(tree) = log.kept_tree().await? {
        let (kept, appended) = (tree.size(), head.0.max(verified.tree.size()));
        let was_never_kept = kept == 0 && verified.without_leaf == appended;
        if kept < appended && !was_never_kept {
            verified.find(Finding::NotInTree { kept, appended });
        }
    }
    Ok(verified)
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
    // What was kept may grow meanwhile: the tree is compared where it was at the beginning.
    let kept_tree = kept.as_ref().and_then(|kept| kept.tree.clone());
    let sizes = checkpoints.iter().map(|checkpoint| checkpoint.size).chain(kept_tree.as_ref().map(Frontier::size));
    let mut verifier = Verifier {
        verified: Verified::default(),
        streams: HashMap::new(),
        before: None,
        keeps_leaves: kept_tree.is_some(),
        has_leaves: false,
        roots: sizes.map(|size| (size, (size == 0).then(Hash::of_nothing))).collect(),
    };
    let (mut after, mut looking) = (Position(0), None);
    loop {
        // The next window is read while one is looked at.
        let window = source.next(WINDOW).await?;
        let last = window.last().map(|event| event.position);
        let leaves = match &kept {
            Some(kept) if last.is_some() => kept.log.kept_leaves(after, window.len()).await?,
            _ => vec![],
        };
        if let Some(looking) = looking.take() {
            verifier = joined(looking).await;
            told(after);
        }
        let Some(last) = last else { break };
        after = last;
        let mut with_window = std::mem::take(&mut verifier);
        looking = Some(tokio::task::spawn_blocking(move || {
            with_window.look_at(&window, &leaves);
            with_window
        }));
    }
    Ok(verifier.conclude(kept_tree, origin, checkpoints))
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}

#[derive(Default)]
struct Verifier {
    verified: Verified,
    /// Each stream's last version, and its time.
    streams: HashMap<String, (u64, Timestamp)>,
    before: Option<Timestamp>,
    /// Whether leaves were kept with the log.
    keeps_leaves: bool,
    /// Whether that of an earlier event was.
    has_leaves: bool,
    /// The sizes at which the root is wanted, and it from then on.
    roots: Vec<(u64, Option<Hash>)>,
}

impl Verifier {
    /// Everything was looked at: compares the tree with the kept one and with the checkpoints.
    fn conclude(self, kept_tree: Option<Frontier>, origin: Option<&str>, checkpoints: &[Checkpoint]) -> Verified {
        let Self { mut verified, mut roots, .. } = self;
        if let Some(tree) = kept_tree {
            match roots.pop().and_then(|(_, root)| root) {
                None => verified.find(Finding::Missing { kept: tree.size(), found: verified.tree.size() }),
                Some(root) if root != tree.root() => verified.find(Finding::OtherTree { size: tree.size() }),
                Some(_) => {}
            }
        }
        for (checkpoint, (_, root)) in checkpoints.iter().zip(roots) {
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
        verified
    }

    fn look_at(&mut self, window: &[StoredEvent], leaves: &[Option<Hash>]) {
        for (n, event) in window.iter().enumerate() {
            self.look(event, leaves.get(n).copied().flatten());
            let tree = &self.verified.tree;
            for (_, root) in self.roots.iter_mut().filter(|(size, _)| *size == tree.size()) {
                *root = Some(tree.root());
            }
        }
    }

    fn look(&mut self, event: &StoredEvent, kept: Option<Hash>) {
        let (position, id) = (event.position, event.id);
        let leaf = Hash::of_leaf(event);
        self.verified.tree.push(leaf);
        match kept {
            Some(kept) if kept != leaf => self.verified.find(Finding::Changed { position, id }),
            Some(_) => {}
            None if self.has_leaves => self.verified.find(Finding::LeafRemoved { position, id }),
            None => self.verified.without_leaf += u64::from(self.keeps_leaves),
        }
        self.has_leaves |= kept.is_some();
        let last = (event.version, event.at);
        let before = match self.streams.get_mut(&event.stream) {
            Some(before) => Some(std::mem::replace(before, last)),
            None => self.streams.insert(event.stream.clone(), last),
        };
        let after = before.map_or(0, |(version, _)| version);
        if event.version != after + 1 {
            let (stream, version) = (event.stream.clone(), event.version);
            self.verified.find(Finding::OutOfOrder { position, id, stream, version, after });
        }
        // In a copy of a log in KurrentDB times grow along a stream alone. Where its leaf is gone or differs, nothing says that an event was appended so.
        let before = if kept == Some(leaf) { before.map(|(_, at)| at) } else { self.before };
        if self.keeps_leaves && before.is_some_and(|at| event.at <= at) {
            self.verified.find(Finding::Earlier { position, id });
        }
        self.before = Some(event.at);
        if let Err(error) = event.check() {
            self.verified.find(Finding::Unreadable { position, id, reason: error.to_string() });
        }
    }
}
