//! A generation is written without flushes while it is led: what the system was given outlives the process, and views can be made
//! anew. A note beside the file says in which run of the machine that is. In another run nobody knows what of the file had
//! reached the disk (`docs/decisions/0031-views-are-not-flushed.md`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::read_store::generations::UNFLUSHED;
use crate::sqlite::{beside, folder};

/// Which run of the machine this is: <https://docs.kernel.org/admin-guide/sysctl/kernel.html#random>.
const RUN: &str = "/proc/sys/kernel/random/boot_id";
/// The note of a file that is not to be trusted in any run.
const NO_RUN: &str = "none: what was written did not reach the disk";

/// Notes, on the disk, that from now on the file is written without flushes; false where the system does not say which run this is.
pub(super) fn note(file: &Path) -> io::Result<bool> {
    let Some(run) = run_of_machine() else { return Ok(false) };
    write(file, &run)?;
    Ok(true)
}

/// Notes that the file is to be made anew at the next start.
pub(super) fn distrust(file: &Path) -> io::Result<()> {
    write(file, NO_RUN)
}

/// All of the file is on the disk.
pub(super) fn take_off(file: &Path) -> io::Result<()> {
    match fs::remove_file(beside(file, UNFLUSHED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether somebody wrote the file without flushes and did not flush it since.
pub(super) fn is_noted(file: &Path) -> bool {
    fs::symlink_metadata(beside(file, UNFLUSHED)).is_ok()
}

/// Whether the machine went down meanwhile.
pub(super) fn may_be_torn(file: &Path) -> bool {
    let is_of_this_run = || fs::read_to_string(beside(file, UNFLUSHED)).is_ok_and(|noted| run_of_machine() == Some(noted));
    is_noted(file) && !is_of_this_run()
}

/// In one step, so that there is never half a note.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let (path, made) = (beside(file, UNFLUSHED), beside(file, ".unflushed.new"));
    let mut note = File::options().create(true).truncate(true).write(true).mode(0o600).open(&made)?;
    note.write_all(text.as_bytes())?;
    note.sync_all()?;
    fs::rename(&made, &path)?;
    File::open(folder(&path))?.sync_all()
}

fn run_of_machine() -> Option<String> {
    fs::read_to_string(RUN).ok().map(|run| run.trim().to_owned()).filter(|run| !run.is_empty())
}
