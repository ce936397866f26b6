//! Hetzner's Cloud API.

use gatelet::acme::dns::TokenApi::Hetzner;
use serde_json::json;

use super::*;

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        let error = |status: u16, code: &str, message: &str| {
            let error = json!({ "code": code, "message": message, "details": null });
            (status, json!({ "error": error }).to_string())
        };
        if asked.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return error(401, "unauthorized", "unable to authenticate");
        }
        let action = |command: &str| {
            let action = json!({
                "id": 1, "command": command, "status": "running", "progress": 50,
                "started": "2026-11-28T23:55:00Z", "finished": null,
                "resources": [{ "id": 42, "type": "zone" }], "error": null,
            });
            (201, json!({ "action": action }).to_string())
        };
        let set = "/zones/42/rrsets/_acme-challenge.www/TXT";
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/zones/example.test") => {
                let zone = json!({ "id": 42, "name": "example.test", "mode": "primary" });
                (200, json!({ "zone": zone }).to_string())
            }
            ("GET", path) if path == set && !records.raw().is_empty() => {
                let all = records.raw();
                let all = all.iter().map(|raw| json!({ "value": raw, "comment": "" }));
                let set = json!({
                    "id": "_acme-challenge.www/TXT", "name": BELOW, "type": "TXT", "ttl": 60,
                    "records": all.collect::<Vec<_>>(), "zone": 42,
                });
                (200, json!({ "rrset": set }).to_string())
            }
            ("GET", _) => error(404, "not_found", "not found"),
            ("POST", path) => {
                let body = json(asked);
                let value = body["records"][0]["value"]
                    .as_str()
                    .expect("a text")
                    .to_owned();
                assert!(value.starts_with('"') && value.ends_with('"'), "{value}");
                match path.strip_prefix(set) {
                    Some("/actions/add_records") => {
                        let ttl = body["ttl"].as_u64();
                        assert_eq!(ttl, records.raw().is_empty().then_some(60));
                        records.add(&value);
                        action("add_rrset_records")
                    }
                    Some("/actions/remove_records") => {
                        let mut all = records.raw();
                        all.retain(|raw| *raw != value);
                        records.set(all);
                        action("remove_rrset_records")
                    }
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn hetzner_adds_and_removes_values_of_a_record_set() {
    let records = Records::new("\"foreign\"");
    let service = WebService::start(api(&records));
    let provider = token_provider(Hetzner, service.url());
    assert_changes_single_values(&provider, &records);
    assert_names_the_missing_zone(&provider);
}

#[test]
fn hetzners_errors_are_reported() {
    assert_refusals("hetzner", |url| token_provider(Hetzner, url));
    let records = Records::new("\"foreign\"");
    let working = api(&records);
    let service = WebService::start(move |asked| match asked.method.as_str() {
        "POST" => {
            let error = json!({ "code": "action_failed", "message": "Action failed" });
            let action = json!({ "id": 1, "status": "error", "error": error });
            (201, json!({ "action": action }).to_string())
        }
        _ => working(asked),
    });
    let provider = token_provider(Hetzner, service.url());
    let error = run(provider.present(&record("v"))).expect_err("it failed");
    let line = error.to_string();
    assert!(
        line.contains("zone example.test: POST /zones/42/"),
        "{line}"
    );
    assert!(line.ends_with("Action failed, action_failed"), "{line}");
}
