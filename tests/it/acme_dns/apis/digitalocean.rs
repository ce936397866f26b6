//! DigitalOcean.

use gatelet::acme::dns::TokenApi::DigitalOcean;
use serde_json::json;

use super::*;

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        if asked.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            let error = json!({ "id": "unauthorized", "message": "Unable to authenticate you" });
            return (401, error.to_string());
        }
        let one = |(id, data): (u64, String)| {
            json!({
                "id": id, "type": "TXT", "name": BELOW, "data": data, "priority": null,
                "port": null, "ttl": 60, "weight": null, "flags": null, "tag": null,
            })
        };
        let missing = json!({ "id": "not_found", "message": "Could not find it" }).to_string();
        let list = format!("/domains/example.test/records?type=TXT&name={NAME}&per_page=200");
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/domains/example.test") => {
                let domain = json!({ "name": "example.test", "ttl": 1800, "zone_file": "" });
                (200, json!({ "domain": domain }).to_string())
            }
            ("GET", path) if *path == list => {
                let all: Vec<Value> = records.all().into_iter().map(one).collect();
                let body = json!({
                    "domain_records": all, "links": {}, "meta": { "total": all.len() },
                });
                (200, body.to_string())
            }
            ("GET", _) => (404, missing),
            ("POST", "/domains/example.test/records") => {
                let body = json(asked);
                let data = body["data"].as_str().expect("a text").to_owned();
                let expected = json!({ "type": "TXT", "name": BELOW, "data": data, "ttl": 60 });
                assert_eq!(body, expected);
                let id = records.add(&data);
                (201, json!({ "domain_record": one((id, data)) }).to_string())
            }
            ("DELETE", path) => {
                let id = path
                    .strip_prefix("/domains/example.test/records/")
                    .expect("a record");
                match records.delete(id) {
                    true => (204, String::new()),
                    false => (404, missing),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn digitalocean_adds_and_deletes_single_records() {
    let records = Records::new("foreign");
    let service = WebService::start(api(&records));
    let provider = token_provider(DigitalOcean, service.url());
    assert_changes_single_values(&provider, &records);
    assert_names_the_missing_zone(&provider);
}

#[test]
fn digitaloceans_limits_and_errors_are_reported() {
    assert_refusals("digitalocean", |url| token_provider(DigitalOcean, url));
    let records = Records::new("foreign");
    let service = hesitant(api(&records));
    let provider = token_provider(DigitalOcean, service.url());
    run(provider.present(&record("one"))).expect("published");
    assert_eq!(records.texts(), ["foreign", "one"]);
}
