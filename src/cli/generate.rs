//! Man pages and shell completions, made from the arguments themselves.

use std::{fs, path::Path};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Arguments, Failure};

/// Writes the man pages, one for each command, into a folder, which is created if it is missing.
pub(super) fn man(folder: &Path) -> Result<(), Failure> {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))
}

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "gatelet", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
}
