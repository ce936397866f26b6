//! OVH.

use gatelet::acme::dns::OvhSettings;
use ring::digest;
use serde_json::json;

use super::*;

const TIME: u64 = 1_457_018_875;

fn ovh(base: String) -> Provider {
    provider(ProviderSettings::Ovh(OvhSettings {
        application_key: "app".to_owned(),
        application_secret: Secret::new("app-secret"),
        consumer_key: Secret::new(TOKEN),
        base: Some(base),
    }))
}

/// Returns the signature that OVH computes of a request.
fn signature(asked: &Asked) -> String {
    let url = format!("http://{}{}", asked.headers["host"], asked.path);
    let text = format!(
        "app-secret+{TOKEN}+{}+{url}+{}+{TIME}",
        asked.method, asked.body
    );
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let hex: Vec<String> = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("$1${}", hex.concat())
}

/// The records and, in the second, those that the name servers have since the last refresh.
fn api(records: &Records, served: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let (records, served) = (records.clone(), served.clone());
    move |asked| {
        let error = |status: u16, message: &str| {
            (
                status,
                json!({ "message": message, "httpCode": "X" }).to_string(),
            )
        };
        if asked.path == "/auth/time" {
            return (200, TIME.to_string());
        }
        assert_eq!(asked.headers["x-ovh-application"], "app");
        assert_eq!(asked.headers["x-ovh-consumer"], TOKEN);
        assert_eq!(asked.headers["x-ovh-timestamp"], TIME.to_string());
        if asked.headers["x-ovh-signature"] != signature(asked) {
            return error(400, "Invalid signature");
        }

        // The rights are for this zone only.
        let Some(path) = asked.path.strip_prefix("/domain/zone/example.test/") else {
            return error(403, "This call has not been granted");
        };
        match (asked.method.as_str(), path) {
            ("GET", "record?fieldType=NS") => (200, "[7]".to_owned()),
            ("GET", "record?fieldType=TXT&subDomain=_acme-challenge.www") => {
                let ids: Vec<u64> = records.all().into_iter().map(|(id, _)| id).collect();
                (200, json!(ids).to_string())
            }
            ("GET", path) => {
                let id: u64 = path
                    .strip_prefix("record/")
                    .expect("one")
                    .parse()
                    .expect("an ID");
                match records.all().into_iter().find(|(one, _)| *one == id) {
                    Some((_, raw)) => {
                        let body = json!({
                            "id": id, "zone": "example.test", "subDomain": BELOW,
                            "fieldType": "TXT", "target": raw, "ttl": 60,
                        });
                        (200, body.to_string())
                    }
                    None => error(404, "This service does not exist"),
                }
            }
            ("POST", "record") => {
                let body = json(asked);
                let target = body["target"].as_str().expect("a text").to_owned();
                let expected = json!({
                    "fieldType": "TXT", "subDomain": BELOW, "target": target, "ttl": 60,
                });
                assert_eq!(body, expected);
                let id = records.add(&target);
                (200, json!({ "id": id, "target": target }).to_string())
            }
            ("POST", "refresh") => {
                served.set(records.raw());
                (200, "null".to_owned())
            }
            ("DELETE", path) => match records.delete(path.strip_prefix("record/").expect("one")) {
                true => (200, "null".to_owned()),
                false => error(404, "This service does not exist"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ovh_adds_single_records_and_refreshes_the_zone() {
    let records = Records::new("\"foreign\"");
    let served = Records::new("\"foreign\"");
    let service = WebService::start(api(&records, &served));
    let provider = ovh(service.url());
    assert_changes_single_values(&provider, &records);
    assert_eq!(served.texts(), records.texts());
    assert_names_the_missing_zone(&provider);

    // As after a crash before the refresh.
    records.add("\"one\"");
    run(provider.present(&record("one"))).expect("published");
    assert_eq!(served.texts(), ["one"]);
}

#[test]
fn ovhs_errors_are_reported() {
    assert_refusals("ovh", ovh);
}
