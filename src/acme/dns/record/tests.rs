use super::*;

#[test]
fn a_wildcard_and_its_base_name_share_a_record() {
    let record = TxtRecord::challenge("*.example.org", "abc-_9");
    assert_eq!(
        record,
        TxtRecord {
            fqdn: "_acme-challenge.example.org".to_owned(),
            value: "abc-_9".to_owned()
        }
    );
    assert_eq!(
        record.name().expect("a name").to_ascii(),
        "_acme-challenge.example.org."
    );
}

#[test]
fn names_and_values_that_need_escaping_are_refused() {
    let long = "a".repeat(64);
    for name in [
        "",
        ".",
        ".a",
        "a..b",
        "a b",
        "a/b",
        "a?b",
        "-\n",
        "\\097",
        "é.example",
        "*.a",
        &long,
    ] {
        assert!(
            TxtRecord {
                fqdn: name.to_owned(),
                value: "v".to_owned()
            }
            .name()
            .is_err(),
            "{name:?}"
        );
    }

    let long = "v".repeat(256);
    for value in ["", "a b", "a\"b", "a\\b", "a\n", "é", &long] {
        assert!(
            TxtRecord {
                fqdn: "a.test".to_owned(),
                value: value.to_owned()
            }
            .name()
            .is_err(),
            "{value:?}"
        );
    }
}
