//! The endpoints' side.

pub(super) mod h2;
pub(super) mod rest;
