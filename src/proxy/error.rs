//! What can go wrong with a request after its head was read, whose fault it is, and whether it may be retried. This
//! file alone turns it into a response.

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// Ours, or the configuration's.
    Us,
}

/// Whether another attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing reached the upstream.
    Safe,
    /// Only if the connection was a reused one that died before the first byte of an answer.
    IfReused,
    /// No.
    Never,
}
