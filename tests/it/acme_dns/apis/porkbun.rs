//! Porkbun.

use gatelet::acme::dns::PorkbunSettings;
use serde_json::json;

use super::*;

fn porkbun(base: String) -> Provider {
    provider(ProviderSettings::Porkbun(PorkbunSettings {
        api_key: Secret::new("pk1_public"),
        secret_key: Secret::new(TOKEN),
        base: Some(base),
    }))
}

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        let error = |message: &str| {
            (
                400,
                json!({ "status": "ERROR", "message": message }).to_string(),
            )
        };
        assert_eq!(asked.method, "POST");
        let mut body = json(asked);
        let keys = ["apikey", "secretapikey"].map(|key| body[key].take());
        if keys != [json!("pk1_public"), json!(TOKEN)] {
            return error("Invalid API key. (001)");
        }
        let list = format!("/dns/retrieveByNameType/example.test/TXT/{BELOW}");
        match asked.path.as_str() {
            "/dns/retrieveByNameType/example.test/NS" => {
                let body = json!({ "status": "SUCCESS", "cloudflare": "enabled", "records": [] });
                (200, body.to_string())
            }
            path if *path == list => {
                let all = records.all().into_iter().map(|(id, content)| {
                    json!({
                        "id": id.to_string(), "name": NAME, "type": "TXT", "content": content,
                        "ttl": "600", "prio": "0", "notes": "",
                    })
                });
                let all: Vec<Value> = all.collect();
                (
                    200,
                    json!({ "status": "SUCCESS", "records": all }).to_string(),
                )
            }
            "/dns/create/example.test" => {
                let content = body["content"].as_str().expect("a text").to_owned();
                let expected = json!({
                    "apikey": null, "secretapikey": null,
                    "name": BELOW, "type": "TXT", "content": content, "ttl": "600",
                });
                assert_eq!(body, expected);
                let id = records.add(&content);
                (200, json!({ "status": "SUCCESS", "id": id }).to_string())
            }
            path if path.starts_with("/dns/retrieveByNameType/") => error("Invalid domain."),
            path => match path.strip_prefix("/dns/delete/example.test/") {
                Some(id) if records.delete(id) => (200, json!({ "status": "SUCCESS" }).to_string()),
                _ => error("Invalid record ID."),
            },
        }
    }
}

#[test]
fn porkbun_adds_and_deletes_single_records() {
    let records = Records::new("foreign");
    let service = WebService::start(api(&records));
    let provider = porkbun(service.url());
    assert_changes_single_values(&provider, &records);
    assert_names_the_missing_zone(&provider);
}

#[test]
fn porkbuns_errors_are_reported() {
    assert_refusals("porkbun", porkbun);
    let wrong = |message: &str| {
        let body = json!({ "status": "ERROR", "message": message }).to_string();
        let service = WebService::start(move |_| (400, body.clone()));
        run(porkbun(service.url()).present(&record("v"))).expect_err("refused")
    };
    for message in [
        "Invalid API key. (001)",
        "Domain is not opted in to API access.",
    ] {
        let error = wrong(message);
        assert!(error.to_string().ends_with(message), "{error}");
    }
}
