//! DNS providers: the used part of Cloudflare's API on loopback, webhooks, and commands.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, mpsc},
};

use gatelet::acme::dns::{
    CloudflareSettings, CommandSettings, Lookup, Provider, ProviderContext, ProviderSettings,
    Secret, TxtRecord, WebhookSettings,
};
use serde_json::{Value, json};

use super::{context, run};
use crate::support::{Folder, WebService, web_service::Asked};

/// Returns a provider that does not follow CNAMEs, because there is no resolver.
pub(super) fn provider(settings: ProviderSettings) -> Provider {
    let context = ProviderContext {
        follow_cname: false,
        ..context(Lookup::default())
    };
    Provider::new(settings, context).expect("good settings")
}

fn cloudflare(service: &WebService, token: &str) -> Provider {
    let base = Some(format!("{}/client/v4", service.url()));
    provider(ProviderSettings::Cloudflare(CloudflareSettings {
        token: Secret::new(token),
        zone_id: None,
        base,
    }))
}

type Records = Arc<Mutex<Vec<(String, String)>>>;

/// Serves one zone, `example.test`, with TXT records of one name, and refuses what Cloudflare
/// refuses.
fn api(records: Records) -> WebService {
    let mut next = 0;
    let next = Mutex::new(move || {
        next += 1;
        format!("rec{next}")
    });
    let good = |result: Value| {
        (
            200,
            json!({ "success": true, "errors": [], "result": result }).to_string(),
        )
    };
    let bad = |status, code, message: &str| {
        let errors = json!([{ "code": code, "message": message }]);
        (
            status,
            json!({ "success": false, "errors": errors, "result": null }).to_string(),
        )
    };
    WebService::start(move |asked: &Asked| {
        let mut records = records.lock().expect("no panic");
        if asked.headers.get("authorization").map(String::as_str) != Some("Bearer right") {
            return bad(403, 9109, "Invalid access token");
        }
        let of = "name=_acme-challenge.www.example.test";
        match (
            asked.method.as_str(),
            asked
                .path
                .strip_prefix("/client/v4/")
                .expect("the base path"),
        ) {
            ("GET", "zones?name=example.test") => {
                good(json!([{ "id": "zone1", "name": "example.test" }]))
            }
            ("GET", path) if path.starts_with("zones?name=") => good(json!([])),
            ("GET", path)
                if *path == format!("zones/zone1/dns_records?type=TXT&{of}&per_page=100") =>
            {
                let found = records
                    .iter()
                    .map(|(id, content)| json!({ "id": id, "content": content }));
                good(found.collect())
            }
            ("POST", "zones/zone1/dns_records") => {
                let body: Value = serde_json::from_str(&asked.body).expect("JSON");
                let content = body["content"].as_str().expect("a content").to_owned();
                let expected = json!({
                    "type": "TXT",
                    "name": "_acme-challenge.www.example.test",
                    "content": content,
                    "ttl": 60,
                });
                assert_eq!(body, expected);
                if content == "\"elsewhere\"" {
                    return bad(400, 81058, "An identical record already exists.");
                }
                let id = next.lock().expect("no panic")();
                records.push((id.clone(), content.clone()));
                good(json!({ "id": id, "content": content }))
            }
            ("DELETE", path) => {
                let id = path
                    .strip_prefix("zones/zone1/dns_records/")
                    .expect("a record");
                records.retain(|(one, _)| one != id);
                (200, json!({ "result": { "id": id } }).to_string())
            }
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn cloudflare_publishes_and_removes_single_values() {
    let records = Records::default();
    records
        .lock()
        .expect("no panic")
        .push(("old".to_owned(), "left-over".to_owned()));
    let service = api(records.clone());
    let provider = cloudflare(&service, "right");
    let contents = || {
        records
            .lock()
            .expect("no panic")
            .iter()
            .map(|(_, text)| text.clone())
            .collect::<Vec<_>>()
    };
    let record = |value| TxtRecord::challenge("www.example.test", value);
    run(async {
        for value in ["one", "two", "one", "left-over", "elsewhere"] {
            provider.present(&record(value)).await.expect("published");
        }
        assert_eq!(contents(), ["left-over", "\"one\"", "\"two\""]);
        for value in ["one", "one", "left-over"] {
            provider.remove(&record(value)).await.expect("removed");
        }
        assert_eq!(contents(), ["\"two\""]);
        let error = provider
            .present(&TxtRecord::challenge("other.test", "v"))
            .await
            .expect_err("no such zone");
        assert!(
            error
                .to_string()
                .contains("the account has no zone that contains"),
            "{error}"
        );
    });
}

#[test]
fn tokens_and_passwords_are_read_again_before_each_use() {
    let (folder, record) = (
        Folder::new(),
        TxtRecord::challenge("www.example.test", "value"),
    );
    let file = folder.write("token", "hunter2");
    let read = || Secret::read(&file).expect("a file");
    let service = api(Records::default());
    let base = Some(format!("{}/client/v4", service.url()));
    let cloudflare = provider(ProviderSettings::Cloudflare(CloudflareSettings {
        token: read(),
        zone_id: None,
        base,
    }));
    let webhook = WebService::start(|asked: &Asked| {
        let good = asked.headers.get("authorization").map(String::as_str)
            == Some("Basic dXNlcjpyaWdodA==");
        (if good { 200 } else { 401 }, String::new())
    });
    let login = Some(("user".to_owned(), read()));
    let webhook = provider(ProviderSettings::Webhook(WebhookSettings {
        url: webhook.url(),
        login,
    }));
    run(async {
        for provider in [&cloudflare, &webhook] {
            folder.write("token", "hunter2");
            provider.present(&record).await.expect_err("a wrong secret");
            folder.write("token", "right\n");
            provider.present(&record).await.expect("published");
        }
    });
}

#[test]
fn cloudflares_error_is_reported_without_the_token() {
    let service = api(Records::default());
    let record = TxtRecord::challenge("www.example.test", "value");
    let provider = cloudflare(&service, "hunter2");
    let error = run(provider.present(&record)).expect_err("a wrong token");
    let line = error.to_string();
    let place = service.url();
    assert!(
        line.starts_with(&format!(
            "cloudflare {place}, _acme-challenge.www.example.test: "
        )),
        "{line}"
    );
    assert!(
        line.ends_with("GET /zones: 403 Forbidden: Invalid access token (9109)"),
        "{line}"
    );
    assert!(!format!("{line}{error:?}{provider:?}").contains("hunter2"));

    for status in [502, 429, 200, 404] {
        let service = WebService::start(move |_| (status, "<h1>not\nJSON</h1>".to_owned()));
        let error = run(cloudflare(&service, "right").present(&record)).expect_err("not JSON");
        assert!(error.to_string().contains("<h1>not JSON</h1>"), "{error}");
    }
}

#[test]
fn a_webhook_is_called_like_legos_httpreq() {
    let (tell, told) = mpsc::channel();
    let service = WebService::start(move |asked| {
        let _ = tell.send(asked.clone());
        if asked.body.contains("refuse") {
            (422, "no such\nzone".to_owned())
        } else {
            (200, String::new())
        }
    });
    let login = Some(("user".to_owned(), Secret::new("hunter2")));
    let settings = WebhookSettings {
        url: format!("{}/dns/", service.url()),
        login,
    };
    assert!(!format!("{settings:?}").contains("hunter2"));
    let provider = provider(ProviderSettings::Webhook(settings));
    let record = TxtRecord::challenge("www.example.test", "value");
    run(async {
        provider.present(&record).await.expect("published");
        provider.remove(&record).await.expect("removed");
        let error = provider
            .present(&TxtRecord::challenge("www.example.test", "refuse"))
            .await
            .expect_err("refused");
        assert!(
            error
                .to_string()
                .ends_with("POST /present: 422 Unprocessable Entity: no such zone"),
            "{error}"
        );
    });
    for action in ["present", "cleanup"] {
        let asked = told.recv().expect("a request");
        assert_eq!(
            (asked.method.as_str(), asked.path),
            ("POST", format!("/dns/{action}"))
        );
        assert_eq!(asked.headers["authorization"], "Basic dXNlcjpodW50ZXIy");
        assert_eq!(asked.headers["content-type"], "application/json");
        let body: Value = serde_json::from_str(&asked.body).expect("JSON");
        let expected = json!({
           "action": action,
           "fqdn": "_acme-challenge.www.example.test.",
           "value": "value",
        });
        assert_eq!(body, expected);
    }
}

fn script(folder: &Folder, text: &str) -> Provider {
    let program = folder.write("hook", &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    let arguments = vec!["dns".to_owned()];
    provider(ProviderSettings::Command(CommandSettings {
        program,
        arguments,
    }))
}

#[test]
fn a_command_runs_like_legos_exec_with_an_empty_environment() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let provider = script(
        &folder,
        &format!(
            "echo \"$@\" >> {0}\nenv | cut -d= -f1 | grep -v -x -e _ -e PWD >> {0}",
            out.display()
        ),
    );
    let record = TxtRecord::challenge("www.example.test", "-value");
    run(async {
        provider.present(&record).await.expect("published");
        provider.remove(&record).await.expect("removed");
    });
    let fqdn = "_acme-challenge.www.example.test.";
    let expected = format!("dns present {fqdn} -value\nPATH\ndns cleanup {fqdn} -value\nPATH\n");
    assert_eq!(fs::read_to_string(out).expect("output"), expected);
}

#[test]
fn a_failing_commands_output_is_in_the_error() {
    let folder = Folder::new();
    let record = TxtRecord::challenge("www.example.test", "value");
    // A process that it leaves behind keeps the pipes open.
    let failing = script(
        &folder,
        "echo wrong zone >&2; head -c 1000000 /dev/zero | tr '\\0' x; sleep 40 & exit 3",
    );
    let error = run(failing.present(&record)).expect_err("it fails");
    let line = error.to_string();
    assert!(
        line.contains("the program ended with exit status: 3: wrong zone xxx"),
        "{line}"
    );
    assert!(line.len() < 2000, "{line}");

    let program = folder.path().join("absent");
    let absent = provider(ProviderSettings::Command(CommandSettings {
        program,
        arguments: Vec::new(),
    }));
    let error = run(absent.present(&record)).expect_err("no such program");
    assert!(error.to_string().contains("cannot be started"), "{error}");
}
