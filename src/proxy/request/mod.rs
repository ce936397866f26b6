//! A request and its response as the data plane handles them, whatever protocol they came over.

pub(super) mod fields;
pub(super) mod message;
