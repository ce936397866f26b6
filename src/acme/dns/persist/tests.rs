use super::*;

const POLICY: PersistPolicy<'static> = PersistPolicy {
    issuer_domains: &["ca.example", "old.example"],
    account_uri: "https://ca.example/acct/1",
    wildcard: false,
};

#[test]
fn the_suggested_record_satisfies_the_policy() {
    let record = persist_record(
        "*.Example.org",
        &PersistPolicy {
            wildcard: true,
            ..POLICY
        },
    );
    assert_eq!(record.fqdn, "_validation-persist.Example.org");

    let value = "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard";
    assert_eq!(record.value, value);

    let value = &format!("{value}; persistUntil=2000000000");
    assert!(suffices(
        value,
        &PersistPolicy {
            wildcard: true,
            ..POLICY
        },
        1_999_999_999
    ));
    assert!(!suffices(
        value,
        &PersistPolicy {
            wildcard: true,
            ..POLICY
        },
        2_000_000_000
    ));
    assert!(suffices(
        &persist_record("a", &POLICY).value,
        &POLICY,
        u64::MAX
    ));
}

#[test]
fn foreign_and_narrower_records_do_not_satisfy_the_policy() {
    let wild = PersistPolicy {
        wildcard: true,
        ..POLICY
    };
    assert!(suffices(
        "OLD.example;accounturi = https://ca.example/acct/1;policy=Wildcard",
        &wild,
        0
    ));

    for value in [
        "",
        "ca.example",
        "other.example; accounturi=https://ca.example/acct/1; policy=wildcard",
        "ca.example; accounturi=https://ca.example/acct/2; policy=wildcard",
        "ca.example; accounturi=https://ca.example/acct/1",
        "ca.example; accounturi=https://ca.example/acct/1; policy=wild",
        "ca.example; accounturi=https://ca.example/acct/1; \
        accounturi=https://ca.example/acct/1; policy=wildcard",
        "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard; persistUntil=soon",
    ] {
        assert!(!suffices(value, &wild, 0), "{value}");
    }
}
