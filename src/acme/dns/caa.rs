//! CAA records (RFC 8659, with the parameters of RFC 8657).

/// A CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// Forbids issuance by CAs that do not understand the tag.
    pub critical: bool,
    /// The tag: `issue`, `issuewild`, `iodef` or another.
    pub tag: String,
    /// The value, which may be malformed.
    pub value: String,
}

/// Returns true if these records, which are those of the closest name that has any, let a CA issue.
/// `issuer_domains` are the CA's names (`caaIdentities` of its directory) and `method` is the
/// challenge type. Without `account_uri`, restrictions to accounts are ignored.
pub fn caa_allows(
    records: &[Caa],
    issuer_domains: &[&str],
    wildcard: bool,
    account_uri: Option<&str>,
    method: &str,
) -> bool {
    const KNOWN: [&str; 6] = [
        "issue",
        "issuewild",
        "issuemail",
        "issuevmc",
        "iodef",
        "contactemail",
    ];
    let is = |record: &Caa, tag: &str| record.tag.eq_ignore_ascii_case(tag);
    if records
        .iter()
        .any(|record| record.critical && !KNOWN.iter().any(|tag| is(record, tag)))
    {
        return false;
    }

    // RFC 8659 section 4.3: if there is any issuewild, issue does not apply to wildcards.
    let wild = wildcard && records.iter().any(|record| is(record, "issuewild"));
    let tag = if wild { "issuewild" } else { "issue" };
    let mut relevant = records.iter().filter(|record| is(record, tag)).peekable();
    if relevant.peek().is_none() {
        return true;
    }

    relevant.any(|record| {
        // RFC 8659 section 4.2: a malformed value counts as an empty one.
        let Some(value) = IssueValue::parse(&record.value) else {
            return false;
        };
        value.is_of(issuer_domains)
            && value.meets("accounturi", |uri| {
                account_uri.is_none_or(|ours| ours == uri)
            })
            && value.meets("validationmethods", |list| {
                list.split(',').any(|one| one.trim() == method)
            })
    })
}

/// An `issue-value` of RFC 8659 section 4.2: an issuer and parameters.
pub(super) struct IssueValue<'a> {
    issuer: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> IssueValue<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let trim = |part: &'a str| part.trim_matches([' ', '\t']);
        let mut parts = text.split(';').map(trim);
        let issuer = parts.next()?;
        if !issuer
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        {
            return None;
        }

        let mut parameters = Vec::new();
        for part in parts.filter(|part| !part.is_empty()) {
            let (tag, value) = part.split_once('=')?;
            let (tag, value) = (trim(tag), trim(value));
            let well_formed = !tag.is_empty()
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && value.bytes().all(|byte| byte.is_ascii_graphic());
            if !well_formed {
                return None;
            }
            parameters.push((tag, value));
        }

        Some(Self { issuer, parameters })
    }

    /// Returns true if the issuer is one of these names.
    pub(super) fn is_of(&self, names: &[&str]) -> bool {
        !self.issuer.is_empty()
            && names
                .iter()
                .any(|name| self.issuer.eq_ignore_ascii_case(name.trim_end_matches('.')))
    }

    /// Returns true if a parameter is absent, or present once and accepted by `check`. More than
    /// one cannot be met (RFC 8657 section 3).
    pub(super) fn meets(&self, tag: &str, check: impl FnOnce(&str) -> bool) -> bool {
        match self.values(tag)[..] {
            [] => true,
            [value] => check(value),
            _ => false,
        }
    }

    /// Returns the values of a parameter.
    pub(super) fn values(&self, tag: &str) -> Vec<&'a str> {
        let of_tag = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(tag);
        let found = self.parameters.iter().filter(of_tag);
        found.map(|(_, value)| *value).collect()
    }
}

#[cfg(test)]
mod tests;
