//! Problem documents (RFC 7807 as RFC 8555 section 6.7 uses them).

use serde_json::{Value, json};

use super::state::Identifier;

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The type below `urn:ietf:params:acme:error:`.
    pub kind: String,
    pub detail: String,
    pub status: u16,
    /// Names with the type and detail of each.
    pub subproblems: Vec<(String, String, String)>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Makes a refusal with the status that Boulder uses for the type.
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        let status = match kind {
            "unauthorized"
            | "userActionRequired"
            | "externalAccountRequired"
            | "orderNotReady"
            | "caa" => 403,
            "alreadyReplaced" => 409,
            "rateLimited" => 429,
            "serverInternal" => 500,
            _ => 400,
        };
        Self {
            kind: kind.to_owned(),
            detail: detail.into(),
            status,
            subproblems: Vec::new(),
            retry_after: None,
        }
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new("malformed", detail)
    }

    pub fn not_found(what: &str) -> Self {
        Self::malformed(format!("no such {what}")).status(404)
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn subproblem(mut self, name: &str, kind: &str, detail: &str) -> Self {
        self.subproblems
            .push((name.to_owned(), kind.to_owned(), detail.to_owned()));
        self
    }

    pub(super) fn json(&self) -> Value {
        let urn = |kind: &str| format!("urn:ietf:params:acme:error:{kind}");
        let mut document =
            json!({"type": urn(&self.kind), "detail": self.detail, "status": self.status});
        if self.kind == "badSignatureAlgorithm" {
            document["algorithms"] = json!(["ES256"]);
        }
        if !self.subproblems.is_empty() {
            let each = |(name, kind, detail): &(String, String, String)| {
                json!({"type": urn(kind),
                "detail": detail, "identifier": Identifier::of(name).json()})
            };
            document["subproblems"] = self.subproblems.iter().map(each).collect();
        }
        document
    }
}
