//! A service that a load starts, and removes again.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::cli::new_id;

/// A service in a temporary folder. Gone when it is dropped.
pub(super) struct Own {
    folder: tempfile::TempDir,
    users: usize,
    pub(super) secret: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    host: String,
    /// From the process's beginning until it says that it serves.
    start: Duration,
}

impl Own {
    pub(super) fn start(users: usize) -> anyhow::Result<Self> {
        let mut own = Self::of(users)?;
        own.run()?;
        Ok(own)
    }

    /// With messages between the users, whose views are made already.
    pub(super) fn seeded(users: usize, messages: u64) -> anyhow::Result<Self> {
        let mut own = Self::of(users)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["seed", "--users", &users.to_string(), "--messages", &messages.to_string(), "--data"]).arg(own.folder.path());
        let seeded = command.stdout(Stdio::null()).status().context("the community cannot be made")?;
        if !seeded.success() {
            bail!("the community cannot be made");
        }
        own.run()?;
        own.stop()?;
        own.run()?;
        Ok(own)
    }

    fn of(users: usize) -> anyhow::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, users, secret: format!("{}{}", new_id().simple(), new_id().simple()), running: None })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--send-rate", "0", "--trace", "warn", "--user-limit"]).arg(self.users.max(5_000).to_string());
        command.arg("--data").arg(self.folder.path()).env("ENTRENOUS_TOKEN_SECRET", &self.secret);
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().context("the service cannot be started")?;
        let mut greeting = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut greeting)?;
        }
        let host = greeting.split_whitespace().find_map(|word| word.strip_prefix("http://")).map(|host| host.trim_end_matches([',', '.', '/']).to_owned());
        let running = self.running.insert(Running { child, host: host.unwrap_or_default(), start: begun.elapsed() });
        if running.host.is_empty() {
            bail!("the service did not start");
        }
        Ok(())
    }

    /// As an operator stops it.
    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            Command::new("kill").arg(running.child.id().to_string()).status()?;
            running.child.wait()?;
        }
        Ok(())
    }

    pub(super) fn host(&self) -> &str {
        self.running.as_ref().map_or("", |running| &running.host)
    }

    /// How long the last start took.
    pub(super) fn start_time(&self) -> Duration {
        self.running.as_ref().map_or(Duration::ZERO, |running| running.start)
    }

    /// Where the system tells.
    pub(super) fn resident_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.as_ref()?.child.id())).ok()?;
        let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1_024)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ended = running.child.kill();
            let _reaped = running.child.wait();
        }
    }
}
