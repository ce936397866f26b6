//! The width of the terminal that the output goes to.

use std::io::IsTerminal;

/// Returns the number of columns of the terminal at standard output; `None` if it is none, or does
/// not tell.
pub fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }

    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    #[allow(unsafe_code, reason = "there is no safe way to ask")]
    // SAFETY: the request writes a `winsize` into the place of one, which lives until after it.
    let outcome = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };

    (outcome == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
