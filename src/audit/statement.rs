//! Proofs as files: complete in themselves, so that whoever has the verifier key can check one anywhere.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use uuid::Uuid;

use super::checkpoint::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier, origin};
use super::lines;
use super::proof::{Outline, Prover, is_consistent, is_included};
use crate::domain::event::Position;
use crate::event_log::merkle::{Frontier, Hash};
use crate::event_log::{EventLog, LogError, StoredEvent};

/// Events read at once.
const WINDOW: usize = 4_096;

/// What is proven, and the proof.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Statement {
    /// An event is in the log of a checkpoint.
    Inclusion {
        /// As an export has it.
        event: Box<RawValue>,
        /// Its place in the log, from 0.
        index: u64,
        path: Vec<String>,
        checkpoint: String,
    },
    /// The log of the later checkpoint goes on from that of the earlier.
    Consistency { earlier: String, later: String, path: Vec<String> },
}

/// What a statement was found to prove.
#[derive(Debug, PartialEq, Eq)]
pub enum Proven {
    Inclusion { event: StoredEvent, checkpoint: Checkpoint },
    Consistency { earlier: Checkpoint, later: Checkpoint },
}

/// Why nothing is proven.
#[derive(Debug, Error)]
pub enum ProofError {
    #[error("it is not a proof: {0}")]
    Malformed(String),
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the event is not the one of the proof, or not in the log of the checkpoint")]
    NotIncluded,
    #[error("the later log does not go on from the earlier one")]
    NotConsistent,
    #[error("the log has no event {0}")]
    NoEvent(Uuid),
    #[error("the checkpoint is of {size} events and the log has {found}")]
    BeforeCheckpoint { size: u64, found: u64 },
    #[error("the log's first events are not those of the checkpoint")]
    OtherThanCheckpoint,
    #[error("the tree that is kept with the log is not of the events that it has: `entrenous verify` says more")]
    OtherTree,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The log as it is now, signed.
///
/// # Errors
/// When the log cannot be read, or the tree that is kept with it is not of all its events.
pub async fn checkpoint(log: &EventLog, signer: &CheckpointSigner) -> Result<String, ProofError> {
    let tree = whole_tree(log).await?;
    Ok(signer.sign(&Checkpoint { origin: origin(log.id()), size: tree.size(), root: tree.root() }))
}

/// The tree of a log as it is now: the one that is kept, or made by reading all where none was.
async fn whole_tree(log: &EventLog) -> Result<Frontier, ProofError> {
    let head = log.latest().await?;
    let Some(kept) = log.kept_tree().await? else { return made_tree(log, head).await };
    let tree = if kept.size() == 0 { made_tree(log, head).await? } else { kept };
    if is_whole(log, head, tree.size()).await? { Ok(tree) } else { Err(ProofError::OtherTree) }
}

/// Whether a tree of so many events is of the whole log, whose head was looked at before the tree: whoever appends meanwhile
/// appends to the kept tree, too.
async fn is_whole(log: &EventLog, head: Position, size: u64) -> Result<bool, LogError> {
    let end = Position(size);
    if end < head || (size > 0 && log.at(end).await?.is_none()) {
        return Ok(false);
    }
    Ok(log.read_all_stored(end, 1).await?.is_empty() || log.kept_tree().await?.is_some_and(|grown| grown.size() > size))
}

/// The tree of the events up to a position, of none of which a leaf is kept.
async fn made_tree(log: &EventLog, head: Position) -> Result<Frontier, ProofError> {
    let (mut tree, mut after) = (Frontier::default(), Position(0));
    while after < head {
        let mut events = log.read_all_stored(after, WINDOW).await?;
        events.retain(|event| event.position <= head);
        if log.kept_leaves(after, events.len()).await?.iter().any(Option::is_some) {
            return Err(ProofError::OtherTree);
        }
        after = events.last().ok_or(ProofError::OtherTree)?.position;
        tree.extend(events.iter().map(Hash::of_leaf));
    }
    Ok(tree)
}

/// Proves that an event is in the log as it is now.
///
/// # Errors
/// When it is not.
pub async fn prove_inclusion(log: &EventLog, id: Uuid, signer: &CheckpointSigner) -> Result<Statement, ProofError> {
    let leaves = leaves(log).await?;
    let index = leaves.iter().position(|(event, _)| *event == id).ok_or(ProofError::NoEvent(id))?;
    let (index, size) = (index as u64, leaves.len() as u64);
    let path = path(Outline::of_inclusion(index, size), &leaves);
    let event = log.find_stored(id).await?.ok_or(ProofError::NoEvent(id))?;
    let mut line = Vec::new();
    lines::write(&mut line, std::slice::from_ref(&event)).map_err(|error| ProofError::Malformed(error.to_string()))?;
    let event = serde_json::from_slice(&line).map_err(|error| ProofError::Malformed(error.to_string()))?;
    Ok(Statement::Inclusion { event, index, path, checkpoint: signer.sign(&of_leaves(log, &leaves)) })
}

/// Proves that the log as it is now goes on from a checkpoint.
///
/// # Errors
/// When it does not.
pub async fn prove_consistency(log: &EventLog, earlier: &str, signer: &CheckpointSigner) -> Result<Statement, ProofError> {
    let since = signer.verifier().open(earlier)?;
    let leaves = leaves(log).await?;
    let now = of_leaves(log, &leaves);
    let Some(then) = usize::try_from(since.size).ok().and_then(|size| leaves.get(..size)) else {
        return Err(ProofError::BeforeCheckpoint { size: since.size, found: now.size });
    };
    if of_leaves(log, then) != since {
        return Err(ProofError::OtherThanCheckpoint);
    }
    let path = path(Outline::of_consistency(since.size, now.size), &leaves);
    Ok(Statement::Consistency { earlier: earlier.to_owned(), later: signer.sign(&now), path })
}

fn of_leaves(log: &EventLog, leaves: &[(Uuid, Hash)]) -> Checkpoint {
    let mut tree = Frontier::default();
    tree.extend(leaves.iter().map(|(_, leaf)| *leaf));
    Checkpoint { origin: origin(log.id()), size: tree.size(), root: tree.root() }
}

fn path(outline: Outline, leaves: &[(Uuid, Hash)]) -> Vec<String> {
    let mut prover = Prover::new(outline);
    for (_, leaf) in leaves {
        prover.push(*leaf);
    }
    prover.finish().iter().map(Hash::to_string).collect()
}

/// All events' ids and leaves: 48 bytes an event in memory.
async fn leaves(log: &EventLog) -> Result<Vec<(Uuid, Hash)>, LogError> {
    let (mut leaves, mut after) = (Vec::new(), Position(0));
    loop {
        let events = log.read_all_stored(after, WINDOW).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        leaves.extend(events.iter().map(|event| (event.id, Hash::of_leaf(event))));
    }
    Ok(leaves)
}

impl Statement {
    /// # Errors
    /// When the text is none.
    pub fn parse(json: &str) -> Result<Self, ProofError> {
        serde_json::from_str(json).map_err(|error| ProofError::Malformed(error.to_string()))
    }

    /// What it proves, for whoever trusts the key.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn check(&self, verifier: &CheckpointVerifier) -> Result<Proven, ProofError> {
        let hashes = |path: &[String]| -> Result<Vec<Hash>, ProofError> {
            path.iter().map(|text| Hash::from_base64(text).ok_or_else(|| ProofError::Malformed("a hash is none".to_owned()))).collect()
        };
        match self {
            Self::Inclusion { event, index, path, checkpoint } => {
                let checkpoint = verifier.open(checkpoint)?;
                let event = lines::parse(event.get()).map_err(|error| ProofError::Malformed(error.to_string()))?;
                let is_included = is_included(Hash::of_leaf(&event), *index, checkpoint.size, &hashes(path)?, checkpoint.root);
                if is_included { Ok(Proven::Inclusion { event, checkpoint }) } else { Err(ProofError::NotIncluded) }
            }
            Self::Consistency { earlier, later, path } => {
                let (earlier, later) = (verifier.open(earlier)?, verifier.open(later)?);
                let is_proven = earlier.origin == later.origin && is_consistent((earlier.size, earlier.root), (later.size, later.root), &hashes(path)?);
                if is_proven { Ok(Proven::Consistency { earlier, later }) } else { Err(ProofError::NotConsistent) }
            }
        }
    }
}
