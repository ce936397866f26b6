//! Entry points for `fuzz/`: responses of a CA.

use serde::Deserialize;

use super::{
    identifier::document,
    types::{Account, Authorization, Order},
};

/// Reads a document of a CA as each of the resources that it could be.
pub fn document_of_ca(data: &[u8]) {
    let Some(value) = document(data) else {
        return;
    };
    drop(Account::deserialize(&value));
    drop(Order::deserialize(&value));
    drop(Authorization::deserialize(&value));
    drop(super::error::Problem::deserialize(&value));
}
