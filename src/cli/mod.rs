//! Arguments, subcommands and exit codes.

use std::process::ExitCode;

/// Runs the command line and returns the exit code of the process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
