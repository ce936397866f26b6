//! The format of a state directory, in a file of its own. Without it an older gatelet would take
//! the records of a newer one for damaged, and set them aside.

use std::{fs, io::Write as _, path::Path};

/// The format that this gatelet writes. It changes when older ones cannot read what it writes.
pub(super) const FORMAT: u32 = 2;

/// A state directory that a newer gatelet has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newer(pub(super) u32);

/// Checks the format of a locked directory.
///
/// # Errors
/// It is newer than [`FORMAT`].
pub(super) fn check(dir: &Path) -> Result<(), Newer> {
    match read(dir) {
        Some(format) if format > FORMAT => Err(Newer(format)),
        _ => Ok(()),
    }
}

/// Notes the format in a locked directory that this gatelet is going to write. A disk that takes no
/// note takes no records either, which is reported with those.
pub(super) fn note(dir: &Path) {
    if read(dir) != Some(FORMAT)
        && let Ok(mut file) = super::private(&dir.join("format"))
    {
        let _ = writeln!(file, "{FORMAT}");
    }
}

/// Returns the format of a directory; `None` if it has no note, as those of older releases.
fn read(dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(dir.join("format")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
