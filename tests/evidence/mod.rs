//! Tampering is evident: whatever is changed, dropped, moved or taken back in a log is found, on every back end.

mod changes;
mod checkpoints;
mod command_line;
mod tree;

use std::sync::Arc;

use entrenous::audit::checkpoint::{Checkpoint, CheckpointSigner, origin};
use entrenous::audit::statement;
use entrenous::audit::verify::{Agreement, verify};
use entrenous::event_log::EventLog;
use entrenous::storage::StoreUrl;
use serde_json::json;

use crate::support::community::community;
use crate::support::inside::{Inside, Place};

const KEY: [u8; 32] = [7; 32];

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(&KEY)
}

async fn checkpoint(log: &EventLog) -> Checkpoint {
    signer().verifier().open(&statement::checkpoint(log, &signer()).await.expect("signed")).expect("its own")
}

/// What is found; one finding where the log cannot even be read.
async fn findings(url: &StoreUrl, checkpoints: &[Checkpoint]) -> Vec<String> {
    let log = match EventLog::open_read_only(url, None).await {
        Ok(log) => log,
        Err(error) => return vec![error.to_string()],
    };
    match verify(&log, &origin(log.id()), checkpoints, |_| {}).await {
        Ok(verified) => verified.findings.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// A log with a past, and a checkpoint from the middle of it and from its end.
async fn log_with_a_past(place: &Arc<Place>) -> Vec<Checkpoint> {
    let inside = Inside::at(place).await;
    community(&inside).await;
    let earlier = checkpoint(inside.app.log()).await;
    let ann = inside.sign_in("ann").await;
    for n in 0..5 {
        inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": format!("après {n}") }), "message { id }").await;
    }
    let later = checkpoint(inside.app.log()).await;
    let verified = verify(inside.app.log(), &later.origin, &[earlier.clone(), later.clone()], |_| {}).await.expect("read");
    assert_eq!((verified.findings.as_slice(), verified.without_leaf), (&[][..], 0));
    assert_eq!(verified.agreements, [Some(Agreement::Extended), Some(Agreement::Equal)]);
    inside.app.log().close().await;
    vec![earlier, later]
}
