//! Where tokens' keys come from.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::arguments::Keys;
use crate::http::authentication::{Expected, SHORTEST_SECRET_BYTES, Verifier};

/// The key of development mode, in the data folder.
const KEY_FILE: &str = "token.key";

impl Keys {
    pub(super) fn expected(&self, leeway: u64) -> Expected {
        Expected { issuer: self.token_issuer.clone(), audience: self.token_audience.clone(), leeway }
    }

    /// The secret of HS256 tokens, if one is configured.
    pub(super) fn secret(&self) -> anyhow::Result<Option<Vec<u8>>> {
        match (&self.token_secret, &self.token_secret_file) {
            (Some(secret), _) => long_enough(secret.clone().into_bytes()).context("--token-secret (ENTRENOUS_TOKEN_SECRET)").map(Some),
            (None, Some(file)) => stored_secret(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The configured secret, or the data folder's own.
    pub(super) fn secret_or_own(&self, data: &Path) -> anyhow::Result<Vec<u8>> {
        self.secret()?.map_or_else(|| own_secret(data), Ok)
    }

    /// What verifies tokens, if a key is configured.
    pub(super) fn verifier(&self, leeway: u64) -> anyhow::Result<Option<Verifier>> {
        let expected = self.expected(leeway);
        Ok(match (self.secret()?, &self.token_public_key, &self.token_jwks) {
            (Some(secret), _, _) => Some(Verifier::secret(&secret, &expected)?),
            (None, Some(pem), _) => Some(Verifier::public_key(&read(pem)?, &expected).with_context(|| pem.display().to_string())?),
            (None, None, Some(jwks)) => Some(Verifier::jwks(&read(jwks)?, &expected).with_context(|| jwks.display().to_string())?),
            (None, None, None) => None,
        })
    }

    /// Whether tokens are signed elsewhere, with a key that this machine does not have.
    pub(super) fn are_public(&self) -> bool {
        self.token_public_key.is_some() || self.token_jwks.is_some()
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Makes the data folder where there is none, for its owner alone: it holds what people write.
pub(super) fn make_data_folder(data: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(|| format!("{} cannot be made", data.display()))
}

/// The data folder's own secret for tokens.
pub(super) fn own_secret(data: &Path) -> anyhow::Result<Vec<u8>> {
    secret_of(&data.join(KEY_FILE))
}

/// A file's secret, made where there is none, in a folder for its owner alone.
pub(super) fn secret_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_data_folder(folder)?;
    }
    if !path.exists() {
        make_secret(path).with_context(|| format!("{} cannot be made", path.display()))?;
    }
    stored_secret(path)
}

/// A file's text is the secret.
fn stored_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    long_enough(read(path)?.trim_ascii_end().to_vec()).with_context(|| path.display().to_string())
}

/// Under its name the file is whole: a secret that a full disk cut short could be guessed.
fn make_secret(path: &Path) -> anyhow::Result<()> {
    // For its owner alone.
    let mut file = tempfile::NamedTempFile::new_in(crate::sqlite::folder(path))?;
    file.write_all(random_secret().as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        // Another process was first.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => Ok(made.map(drop)?),
    }
}

fn long_enough(secret: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if secret.len() < SHORTEST_SECRET_BYTES {
        bail!("a secret has at least {SHORTEST_SECRET_BYTES} bytes");
    }
    Ok(secret)
}

/// 64 hexadecimal digits, 244 bits of chance.
#[expect(clippy::disallowed_methods, reason = "the edge has the chance")]
fn random_secret() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
