//! A service that a load starts, and removes again.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::cli::new_id;

/// How often to look whether a community is made.
const LOOK: Duration = Duration::from_millis(20);

/// A service in a temporary folder. Gone when it is dropped: first the process, then the folder.
pub(super) struct Own {
    running: Option<Running>,
    folder: tempfile::TempDir,
    users: usize,
    pub(super) secret: String,
}

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Running {
    process: Process,
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
    pub(super) async fn seeded(users: usize, messages: u64) -> anyhow::Result<Self> {
        let mut own = Self::of(users)?;
        let mut command = this_program()?;
        command.args(["seed", "--users", &users.to_string(), "--messages", &messages.to_string(), "--data"]).arg(own.folder.path());
        let mut seeding = Process(command.stdout(Stdio::null()).spawn().context("the community cannot be made")?);
        let seeded = loop {
            match seeding.0.try_wait()? {
                Some(seeded) => break seeded,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        if !seeded.success() {
            bail!("the community cannot be made");
        }
        own.run()?;
        own.stop()?;
        own.run()?;
        Ok(own)
    }

    fn of(users: usize) -> anyhow::Result<Self> {
        Ok(Self { running: None, folder: tempfile::tempdir()?, users, secret: format!("{}{}", new_id().simple(), new_id().simple()) })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut command = this_program()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--send-rate", "0", "--trace", "warn", "--user-limit"]).arg(self.users.max(5_000).to_string());
        command.arg("--data").arg(self.folder.path()).env("ENTRENOUS_TOKEN_SECRET", &self.secret);
        let begun = Instant::now();
        let mut process = Process(command.stdout(Stdio::piped()).spawn().context("the service cannot be started")?);
        let mut greeting = String::new();
        if let Some(output) = process.0.stdout.take() {
            BufReader::new(output).read_line(&mut greeting)?;
        }
        let host = greeting.split_whitespace().find_map(|word| word.strip_prefix("http://")).map(|host| host.trim_end_matches([',', '.', '/']).to_owned());
        let running = self.running.insert(Running { process, host: host.unwrap_or_default(), start: begun.elapsed() });
        if running.host.is_empty() {
            bail!("the service did not start");
        }
        Ok(())
    }

    /// As an operator stops it.
    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            Command::new("kill").arg(running.process.0.id().to_string()).status()?;
            running.process.0.wait()?;
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.as_ref()?.process.0.id())).ok()?;
        let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1_024)
    }
}

/// Without the variables of this one: the log that they name is not for a load.
fn this_program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ENTRENOUS_")) {
        command.env_remove(name);
    }
    Ok(command)
}
