use super::*;

const CA: &[&str] = &["ca.example", "ca.test"];
const ACCOUNT: Option<&str> = Some("https://ca.example/acct/1");

fn records(list: &[(&str, &str)]) -> Vec<Caa> {
    let record = |(tag, value): &(&str, &str)| {
        let (critical, tag) = tag
            .strip_prefix('!')
            .map_or((false, *tag), |tag| (true, tag));
        Caa {
            critical,
            tag: tag.to_owned(),
            value: (*value).to_owned(),
        }
    };
    list.iter().map(record).collect()
}

fn allows(list: &[(&str, &str)]) -> bool {
    caa_allows(&records(list), CA, false, ACCOUNT, "dns-01")
}

fn allows_wildcard(list: &[(&str, &str)]) -> bool {
    caa_allows(&records(list), CA, true, ACCOUNT, "dns-01")
}

#[test]
fn without_an_issue_record_every_ca_may_issue() {
    assert!(allows(&[]));
    assert!(allows(&[("iodef", "mailto:a@example.org")]));
    assert!(allows(&[("future", "x")]));
    assert!(allows(&[("issuewild", "other.example")]));
}

#[test]
fn any_matching_issue_record_allows() {
    assert!(allows(&[
        ("issue", "other.example"),
        ("ISSUE", " CA.example ; x=y")
    ]));
    assert!(allows(&[("issue", "ca.test")]));
    assert!(!allows(&[("issue", "other.example")]));
    assert!(!allows(&[("issue", ";")]));
    assert!(!allows(&[("issue", "")]));
    assert!(!allows(&[("issue", "sub.ca.example")]));
}

#[test]
fn issuewild_replaces_issue_for_wildcards_only() {
    let list = [("issue", "other.example"), ("issuewild", "ca.example")];
    assert!(!allows(&list) && allows_wildcard(&list));
    let list = [("issue", "ca.example"), ("issuewild", ";")];
    assert!(allows(&list) && !allows_wildcard(&list));
    assert!(allows_wildcard(&[("issue", "ca.example")]));
    assert!(!allows_wildcard(&[("issue", "other.example")]));
}

#[test]
fn an_unknown_critical_tag_forbids_everything() {
    assert!(!allows(&[("issue", "ca.example"), ("!future", "x")]));
    assert!(allows(&[("!issue", "ca.example"), ("future", "x")]));
}

#[test]
fn rfc8657_accounturi_binds_to_one_account() {
    assert!(allows(&[(
        "issue",
        "ca.example; accounturi=https://ca.example/acct/1"
    )]));
    assert!(!allows(&[(
        "issue",
        "ca.example; accounturi=https://ca.example/acct/2"
    )]));

    let twice =
        "ca.example; accounturi=https://ca.example/acct/1; accounturi=https://ca.example/acct/1";
    assert!(!allows(&[("issue", twice)]));

    let other = records(&[("issue", "ca.example; accounturi=https://ca.example/acct/2")]);
    assert!(caa_allows(&other, CA, false, None, "dns-01"));
}

#[test]
fn rfc8657_validationmethods_lists_the_allowed_challenges() {
    assert!(allows(&[(
        "issue",
        "ca.example; validationmethods=http-01,dns-01"
    )]));
    assert!(!allows(&[(
        "issue",
        "ca.example; validationmethods=http-01"
    )]));
    assert!(!allows(&[("issue", "ca.example; validationmethods=")]));
}

#[test]
fn malformed_values_allow_no_ca() {
    for damaged in [
        "ca.example; accounturi",
        "ca.example; =x",
        "ca example",
        "%%%",
        "ca.example; a=b c",
        "ca.example; é=1",
    ] {
        assert!(!allows(&[("issue", damaged)]), "{damaged}");
    }
    assert!(allows(&[("issue", "ca.example;;")]));
}
