//! `entrenous checkpoint`, `verify` and `prove`: whether the log is what it was.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::arguments::{CheckpointArguments, CheckpointKey, Data, Prove, Verify};
use super::{block_on, keys, print, progress};
use crate::audit::checkpoint::{Checkpoint, CheckpointSigner, CheckpointVerifier, origin};
use crate::audit::lines::Export;
use crate::audit::statement::{Proven, Statement, checkpoint, prove_consistency, prove_inclusion};
use crate::audit::verify::{Agreement, Verified, verify, verify_source};

/// The key of checkpoints, in the data folder.
const KEY_FILE: &str = "checkpoint.key";

pub(super) fn run_checkpoint(arguments: &CheckpointArguments) -> anyhow::Result<()> {
    if arguments.verifier {
        let folder = &arguments.data.data;
        // Mistyped, it is not to begin a key there.
        if arguments.key.checkpoint_key.is_none() && !folder.is_dir() {
            bail!("{}: there is no data folder here yet", folder.display());
        }
        return print(&format!("{}\n", signer(&arguments.key, &arguments.data)?.verifier()));
    }
    block_on(async {
        let log = arguments.data.open_log(None).await?;
        print(&checkpoint(&log, &signer(&arguments.key, &arguments.data)?).await?)
    })
}

pub(super) fn run_prove(arguments: &Prove) -> anyhow::Result<()> {
    block_on(async {
        let log = arguments.data.open_log(None).await?;
        let file = key_file(&arguments.key, &arguments.data);
        // One that was made now signed no earlier checkpoint.
        if arguments.since.is_some() && !file.exists() {
            bail!("{}: the key that signed the checkpoint is not here", file.display());
        }
        let signer = signer(&arguments.key, &arguments.data)?;
        let statement = match (&arguments.event, &arguments.since) {
            (Some(event), _) => prove_inclusion(&log, *event, &signer).await?,
            (None, Some(file)) => prove_consistency(&log, &read_checkpoint(file)?, &signer).await?,
            (None, None) => bail!("--event or --since says what to prove"),
        };
        print(&format!("{}\n", serde_json::to_string_pretty(&statement)?))
    })
}

pub(super) fn run_verify(arguments: &Verify) -> anyhow::Result<()> {
    if let Some(file) = &arguments.proof {
        let name = file.display();
        let verifier = verifier(arguments)?;
        let proven = Statement::parse(&read(file)?).and_then(|statement| statement.check(&verifier));
        return print(&match proven.with_context(|| format!("{name} proves nothing"))? {
            Proven::Inclusion { event, checkpoint } => {
                format!("proven: the event {} (version {} of {}) is one of the {} of the checkpoint\n", event.id, event.version, event.stream, checkpoint.size)
            }
            Proven::Consistency { earlier, later } => format!("proven: the log of {} events goes on from that of {}\n", later.size, earlier.size),
        });
    }
    let checkpoints = checkpoints(arguments)?;
    block_on(async {
        let verified = if let Some(file) = &arguments.export {
            let bar = progress::bar(Export::check(file, None).with_context(|| format!("{} cannot be read", file.display()))?);
            verify_source(Export::open(file)?, &checkpoints, |position| bar.set_position(position.0)).await?
        } else {
            let log = arguments.data.open_log(None).await?;
            let bar = progress::bar(log.latest().await?.0);
            verify(&log, &origin(log.id()), &checkpoints, |position| bar.set_position(position.0)).await?
        };
        report(arguments, &checkpoints, &verified)
    })
}

fn report(arguments: &Verify, checkpoints: &[Checkpoint], verified: &Verified) -> anyhow::Result<()> {
    let mut lines = vec![format!("{} events, root {}", verified.tree.size(), verified.tree.root())];
    for ((file, checkpoint), agreement) in arguments.checkpoint.iter().zip(checkpoints).zip(&verified.agreements) {
        let standing = match agreement {
            Some(Agreement::Equal) => "equal",
            Some(Agreement::Extended) => "extended since",
            None => "DIFFERS",
        };
        lines.push(format!("{} ({} events): {standing}", file.display(), checkpoint.size));
    }
    if verified.without_leaf > 0 {
        lines.push(format!("{} events were appended before leaves were kept: the tree and checkpoints alone speak for them", verified.without_leaf));
    }
    lines.extend(verified.findings.iter().map(ToString::to_string));
    if verified.more_findings > 0 {
        lines.push(format!("and {} more", verified.more_findings));
    }
    let printed = print(&format!("{}\n", lines.join("\n")));
    // The verdict stands whether or not anybody reads it.
    if verified.is_sound() { printed } else { bail!("the log is not what it was") }
}

fn checkpoints(arguments: &Verify) -> anyhow::Result<Vec<Checkpoint>> {
    if arguments.checkpoint.is_empty() {
        return Ok(vec![]);
    }
    let verifier = verifier(arguments)?;
    arguments.checkpoint.iter().map(|file| verifier.open(&read_checkpoint(file)?).with_context(|| format!("{} cannot be trusted", file.display()))).collect()
}

/// The key that was given, or the public half of the data folder's own.
fn verifier(arguments: &Verify) -> anyhow::Result<CheckpointVerifier> {
    if let Some(verifier) = &arguments.verifier {
        return Ok(verifier.clone());
    }
    let file = key_file(&arguments.key, &arguments.data);
    let secret = fs::read(&file).with_context(|| format!("--verifier is needed, or the key in {}", file.display()))?;
    Ok(of_secret(&secret).verifier())
}

/// The key, made where there is none. Whoever has another's public half is to know: what this one signs does not fit it.
fn signer(key: &CheckpointKey, data: &Data) -> anyhow::Result<CheckpointSigner> {
    let file = key_file(key, data);
    let is_new = !file.exists();
    let secret = keys::secret_of(&file)?;
    if is_new {
        let _nobody_reads_it = writeln!(io::stderr(), "{}: a new key of checkpoints was made here", file.display());
    }
    Ok(of_secret(&secret))
}

fn key_file(key: &CheckpointKey, data: &Data) -> std::path::PathBuf {
    key.checkpoint_key.clone().unwrap_or_else(|| data.data.join(KEY_FILE))
}

/// The file's text, without line ends at its end, is hashed to the 32 bytes of the key.
fn of_secret(secret: &[u8]) -> CheckpointSigner {
    CheckpointSigner::new(&Sha256::digest(secret.trim_ascii_end()).into())
}

/// A checkpoint as it was signed: on its way through a mailbox, line ends may have become others, and more at its end.
fn read_checkpoint(file: &Path) -> anyhow::Result<String> {
    Ok(format!("{}\n", read(file)?.replace("\r\n", "\n").trim_end()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}
