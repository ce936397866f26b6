//! Gandi.

use gatelet::acme::dns::TokenApi::Gandi;
use serde_json::json;

use super::*;

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        let error = |code: u16, message: &str| {
            let body = json!({ "object": "HTTP", "code": code, "message": message, "cause": "" });
            (code, body.to_string())
        };
        if asked.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return error(401, "The server could not verify that you authorized this");
        }
        let set = "/domains/example.test/records/_acme-challenge.www/TXT";
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/domains/example.test") => (
                200,
                json!({ "fqdn": "example.test", "automatic_snapshots": true }).to_string(),
            ),
            ("GET", path) if path == set && !records.raw().is_empty() => {
                let body = json!({
                    "rrset_name": BELOW, "rrset_type": "TXT", "rrset_ttl": 300,
                    "rrset_values": records.raw(),
                });
                (200, body.to_string())
            }
            // A token can be limited to some domains; the API tells no others apart.
            ("GET", "/domains/www.example.test") => error(403, "Access was denied"),
            ("GET", _) => error(404, "The resource could not be found"),
            ("PUT", path) if path == set => {
                let body = json(asked);
                let raw: Vec<String> =
                    serde_json::from_value(body["rrset_values"].clone()).expect("texts");
                assert_eq!(body, json!({ "rrset_ttl": 300, "rrset_values": raw }));
                assert!(!raw.is_empty(), "Gandi refuses an empty set");
                records.set(raw);
                (201, json!({ "message": "DNS Record Created" }).to_string())
            }
            ("DELETE", path) if path == set => {
                records.set(Vec::new());
                (204, String::new())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn gandi_keeps_the_other_values_of_a_record_set() {
    let records = Records::new("\"foreign\"");
    let service = WebService::start(api(&records));
    let provider = token_provider(Gandi, service.url());
    assert_changes_single_values(&provider, &records);
    assert_names_the_missing_zone(&provider);
}

#[test]
fn gandis_errors_are_reported() {
    assert_refusals("gandi", |url| token_provider(Gandi, url));
}
