//! The command line: arguments, configuration, wiring, telemetry. The only module that knows all the
//! others, and the only one that asks the system for the time of events.

mod arguments;
mod bench;
mod copy;
mod erase;
mod events;
mod import;
mod keys;
mod node;
mod progress;
mod projections;
mod proofs;
mod replay;
mod seed;
mod serve;
mod signals;
mod telemetry;
mod token;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue};

use crate::domain::event::Timestamp;
use arguments::{Arguments, Command};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| discreet(error).exit());
    let result = match arguments.command {
        Command::Serve(serve) => serve::run(*serve),
        Command::Token(token) => token::run(&token),
        Command::Schema => print(&crate::graphql::sdl()),
        Command::Copy(arguments) => copy::run(&arguments),
        Command::Seed(arguments) => seed::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Erase(arguments) => erase::run(&arguments),
        Command::ExportUser(arguments) => erase::run_export(&arguments),
        Command::Events(events) => events::run(&events),
        Command::Import(arguments) => import::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Projections(command) => projections::run(&command),
        Command::Checkpoint(arguments) => proofs::run_checkpoint(&arguments),
        Command::Prove(arguments) => proofs::run_prove(&arguments),
        Command::Verify(arguments) => proofs::run_verify(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads_it = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// An address that is mistyped may have a password in it.
fn discreet(mut error: clap::Error) -> clap::Error {
    let is_of_an_address = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(argument)) if argument.contains("<URL>"));
    if is_of_an_address && error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
    // One without its option.
    if matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(argument)) if argument.contains(":/")) {
        error.insert(ContextKind::InvalidArg, ContextValue::String("…".to_owned()));
        error.insert(ContextKind::Suggested, ContextValue::None);
    }
    error
}

/// Runs what waits for others to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Whoever read the output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The system's clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the edge has the clock")]
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// A new id that grows with time, by milliseconds. Within one it is random, and no counter: everybody is told some ids, and
/// from two of them must not learn how many were made in between (B6).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the edge makes ids")]
pub fn new_id() -> uuid::Uuid {
    uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_do_not_count() {
        let ids: Vec<_> = (0..1_000).map(|_| new_id()).collect();
        let of_one_moment = |two: &[uuid::Uuid]| two[0].as_u128() >> 80 == two[1].as_u128() >> 80;
        assert!(ids.windows(2).any(|two| of_one_moment(two) && two[0] > two[1]));
        assert!(ids.windows(2).all(|two| of_one_moment(two) || two[0] < two[1]), "but grow with time");
    }
}
