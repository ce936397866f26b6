//! dns-persist-01 (draft-ietf-acme-dns-persist): a permanent record that the operator creates
//! instead of a record per challenge.

use super::{DnsError, Lookup, TxtRecord, caa::IssueValue, lookup};

/// The permissions that a record must grant to a CA.
#[derive(Clone, Copy, Debug)]
pub struct PersistPolicy<'a> {
    /// The names of the CA: `issuer-domain-names` of its challenge. New records contain the first.
    pub issuer_domains: &'a [&'a str],
    /// Our account's URL at that CA.
    pub account_uri: &'a str,
    /// True if the record must also allow wildcards and names below.
    pub wildcard: bool,
}

/// Returns the record that the operator has to create for a name, without `*.` in front. It is
/// valid for as long as it exists.
pub fn persist_record(name: &str, policy: &PersistPolicy<'_>) -> TxtRecord {
    let issuer = policy.issuer_domains.first().copied().unwrap_or_default();
    let mut value = format!("{issuer}; accounturi={}", policy.account_uri);
    if policy.wildcard {
        value.push_str("; policy=wildcard");
    }
    TxtRecord {
        fqdn: fqdn(name),
        value,
    }
}

/// Returns true if DNS has a record for the name that satisfies the policy at `now` (Unix time in
/// seconds).
///
/// # Errors
/// The lookup fails.
pub async fn persisted(
    name: &str,
    policy: &PersistPolicy<'_>,
    now: u64,
    lookup: &Lookup,
) -> Result<bool, DnsError> {
    let values = lookup::texts(&fqdn(name), lookup).await?;
    Ok(values.iter().any(|value| suffices(value, policy, now)))
}

fn fqdn(name: &str) -> String {
    format!(
        "_validation-persist.{}",
        name.strip_prefix("*.").unwrap_or(name)
    )
}

fn suffices(value: &str, policy: &PersistPolicy<'_>, now: u64) -> bool {
    let Some(value) = IssueValue::parse(value) else {
        return false;
    };
    value.is_of(policy.issuer_domains)
        && value.values("accounturi") == [policy.account_uri]
        && (!policy.wildcard
            || matches!(
                value.values("policy")[..],
                [scope] if scope.eq_ignore_ascii_case("wildcard")
            ))
        && value.meets("persistUntil", |until| {
            until.parse().is_ok_and(|until: u64| now < until)
        })
}

#[cfg(test)]
mod tests;
