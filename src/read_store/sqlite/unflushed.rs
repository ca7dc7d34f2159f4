//! A generation is written without flushes while it is led: what the system was given outlives the process, and views can be made
//! anew. A note beside the file says in which run of the machine that is. In another run nobody knows what of the file had
//! reached the disk (`docs/decisions/0031-views-are-not-flushed.md`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::read_store::generations::UNFLUSHED;
use crate::sqlite::beside;

/// Which run of the machine this is: <https://docs.kernel.org/admin-guide/sysctl/kernel.html#random>.
const RUN: &str = "/proc/sys/kernel/random/boot_id";

/// Notes that from now on the file is written without flushes; false where the system does not say which run this is.
pub(super) fn note(file: &Path) -> io::Result<bool> {
    let Some(run) = run_of_machine() else { return Ok(false) };
    let path = beside(file, UNFLUSHED);
    if fs::read_to_string(&path).is_ok_and(|noted| noted == run) {
        return Ok(true);
    }
    let mut note = File::options().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
    note.write_all(run.as_bytes())?;
    note.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(true)
}

/// All of the file is on the disk.
pub(super) fn take_off(file: &Path) -> io::Result<()> {
    match fs::remove_file(beside(file, UNFLUSHED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the machine went down while the file was written without flushes.
pub(super) fn may_be_torn(file: &Path) -> bool {
    match fs::read_to_string(beside(file, UNFLUSHED)) {
        Ok(noted) => run_of_machine() != Some(noted),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn run_of_machine() -> Option<String> {
    fs::read_to_string(RUN).ok().map(|run| run.trim().to_owned()).filter(|run| !run.is_empty())
}
