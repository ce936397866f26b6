use http::{HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )
        })
        .collect()
}

#[test]
fn dates_parse_in_all_three_forms() {
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(
            date(&headers(&[("date", text)])),
            Some(UnixSeconds(784_111_777)),
            "{text}"
        );
    }

    for text in [
        "",
        "yesterday",
        "Sun, 06 Nov 1994",
        "Sun, 99 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(date(&headers(&[("date", text)])), None, "{text}");
    }
    assert_eq!(date(&headers(&[])), None);
}

#[test]
fn retry_after_dates_are_relative_to_the_response() {
    let at =
        |value: &str, date: &str| retry_after(&headers(&[("retry-after", value), ("date", date)]));
    let noon = "Sun, 06 Nov 1994 12:00:00 GMT";
    assert_eq!(at("120", noon), Some(Duration::from_secs(120)));
    assert_eq!(at(" 0 ", ""), Some(Duration::ZERO));
    assert_eq!(
        at("Sun, 06 Nov 1994 12:00:30 GMT", noon),
        Some(Duration::from_secs(30))
    );
    assert_eq!(
        at("Sun, 06 Nov 1994 11:00:00 GMT", noon),
        Some(Duration::ZERO),
        "the past"
    );
    assert_eq!(
        at("Sun, 06 Nov 1994 12:00:30 GMT", ""),
        None,
        "nothing to measure against"
    );
    assert_eq!(
        at("Sat, 06 Nov 2094 12:00:30 GMT", noon),
        Some(Duration::from_secs(LONGEST_WAIT))
    );
    assert_eq!(
        at("99999999999999999999999", noon),
        Some(Duration::from_secs(LONGEST_WAIT))
    );

    for garbage in ["", "soon", "-5", "1.5", "5 s"] {
        assert_eq!(at(garbage, noon), None, "{garbage}");
    }
}

#[test]
fn links_of_a_relation_are_found_among_others() {
    let base: Uri = "https://ca.test/cert/1".parse().expect("a URL");
    let headers = headers(&[
        ("link", r#"<https://ca.test/dir>;rel="index""#),
        (
            "link",
            r#"<https://ca.test/cert/1,2;x>; title="a"; rel="alternate", </cert/3>; rel=alternate"#,
        ),
        ("link", r#"<https://ca.test/cert/4>; REL="next Alternate""#),
        ("link", "garbage, <unfinished; rel=alternate"),
        ("link", "<not a url>; rel=alternate"),
    ]);
    assert_eq!(
        links(&headers, "alternate", &base),
        [
            "https://ca.test/cert/1,2;x",
            "https://ca.test/cert/3",
            "https://ca.test/cert/4"
        ]
    );
    assert_eq!(links(&headers, "index", &base), ["https://ca.test/dir"]);
}
