//! deSEC.

use gatelet::acme::dns::TokenApi::DeSec;
use serde_json::json;

use super::*;

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        if asked.headers.get("authorization") != Some(&format!("Token {TOKEN}")) {
            return (401, json!({ "detail": "Invalid token." }).to_string());
        }
        let set = |raw: Vec<String>| {
            json!({
                "created": "2026-11-28T11:46:07.641885Z",
                "domain": "example.test",
                "subname": BELOW,
                "name": format!("{NAME}."),
                "records": raw,
                "ttl": 3600,
                "type": "TXT",
                "touched": "2026-11-28T11:46:07.641885Z",
            })
        };
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/domains/example.test/") => {
                let domain = json!({ "name": "example.test", "minimum_ttl": 3600, "keys": [] });
                (200, domain.to_string())
            }
            ("GET", "/domains/example.test/rrsets/_acme-challenge.www/TXT/")
                if !records.raw().is_empty() =>
            {
                (200, set(records.raw()).to_string())
            }
            ("GET", _) => (404, json!({ "detail": "Not found." }).to_string()),
            ("PATCH", "/domains/example.test/rrsets/") => {
                let body = json(asked);
                let raw: Vec<String> =
                    serde_json::from_value(body[0]["records"].clone()).expect("texts");
                let expected =
                    json!([{ "subname": BELOW, "type": "TXT", "ttl": 3600, "records": raw }]);
                assert_eq!(body, expected);
                assert!(
                    raw.iter()
                        .all(|raw| raw.starts_with('"') && raw.ends_with('"'))
                );
                records.set(raw.clone());
                (200, json!([set(raw)]).to_string())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn desec_keeps_the_other_values_of_a_record_set() {
    let records = Records::new("\"foreign\"");
    let service = WebService::start(api(&records));
    let provider = token_provider(DeSec, service.url());
    assert_changes_single_values(&provider, &records);
    assert_names_the_missing_zone(&provider);
}

#[test]
fn desecs_limits_and_errors_are_reported() {
    assert_refusals("desec", |url| token_provider(DeSec, url));
    let records = Records::new("\"foreign\"");
    let service = hesitant(api(&records));
    let provider = token_provider(DeSec, service.url());
    run(provider.present(&record("one"))).expect("published");
    assert_eq!(records.texts(), ["foreign", "one"]);
}
