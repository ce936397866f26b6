//! The endpoints' side: choice, connection, sending, retries.

pub(crate) mod checks;
pub(crate) mod condition;
pub(crate) mod copy;
mod deferred_write_error;
pub(crate) mod dns;
pub(crate) mod endpoints;
mod exchange;
pub(crate) mod forward;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod message;
pub(crate) mod pick;
pub(crate) mod pin;
pub(crate) mod pool;
pub(crate) mod rest;
pub(crate) mod session;
