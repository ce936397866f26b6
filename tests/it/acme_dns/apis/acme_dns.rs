//! acme-dns.

use gatelet::acme::dns::{AcmeDnsSettings, Lookup, ProviderContext};
use serde_json::json;

use super::*;
use crate::{acme_dns::context, support::DnsServer};

const FULL: &str = "8e5700ea.auth.test";

fn account(fulldomain: &str) -> Value {
    json!({
        "username": "c36f50e8", "password": TOKEN, "fulldomain": fulldomain,
        "subdomain": "8e5700ea", "allowfrom": [],
    })
}

fn acme_dns(url: String, accounts: &Value, context: ProviderContext) -> Provider {
    let settings = AcmeDnsSettings {
        url,
        accounts: Secret::new(&accounts.to_string()),
    };
    Provider::new(ProviderSettings::AcmeDns(settings), context).expect("good settings")
}

/// Serves an account that keeps its two newest values.
fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        let user = asked.headers.get("x-api-user").map(String::as_str);
        let key = asked.headers.get("x-api-key").map(String::as_str);
        if (user, key) != (Some("c36f50e8"), Some(TOKEN)) {
            return (401, json!({ "error": "forbidden" }).to_string());
        }
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/update")
        );
        let body = json(asked);
        let text = body["txt"].as_str().expect("a text").to_owned();
        assert_eq!(body, json!({ "subdomain": "8e5700ea", "txt": text }));
        let mut all = records.raw();
        all.push(text.clone());
        records.set(all.split_off(all.len().saturating_sub(2)));
        (200, json!({ "txt": text }).to_string())
    }
}

#[test]
fn acme_dns_updates_the_account_to_which_a_cname_leads() {
    let records = Records::new("foreign");
    let service = WebService::start(api(&records));
    let server = DnsServer::start(&[
        (
            "example.test",
            &format!("_acme-challenge.www CNAME {FULL}."),
        ),
        ("auth.test", "8e5700ea TXT \"shown\""),
    ]);
    let lookup = Lookup {
        resolvers: vec![server.address()],
        ..Lookup::default()
    };
    run(async {
        let provider = acme_dns(service.url(), &account(FULL), context(lookup.clone()));
        for value in ["one", "two"] {
            provider.present(&record(value)).await.expect("published");
        }
        // It takes the place of no other value, because it is there.
        provider.present(&record("shown")).await.expect("published");
        assert_eq!(records.raw(), ["one", "two"]);
        provider
            .remove(&record("one"))
            .await
            .expect("nothing to do");

        let other = json!({ "www.example.test": account("other.auth.test") });
        let provider = acme_dns(service.url(), &other, context(lookup));
        let error = provider
            .present(&record("v"))
            .await
            .expect_err("another CNAME");
        let line = error.to_string();
        assert!(
            line.contains("no account has the domain of 8e5700ea.auth.test"),
            "{line}"
        );

        let unknown = TxtRecord::challenge("none.example.test", "v");
        let by_domain = json!({ "example.test": account(FULL) });
        let lookup = Lookup {
            resolvers: vec![server.address()],
            ..Lookup::default()
        };
        let provider = acme_dns(service.url(), &by_domain, context(lookup));
        let error = provider.present(&unknown).await.expect_err("no CNAME");
        let line = error.to_string();
        assert!(
            line.contains(&format!("is no CNAME of {FULL}: create")),
            "{line}"
        );
    });
}

#[test]
fn acme_dns_errors_are_reported_without_the_password() {
    let server = DnsServer::start(&[("auth.test", "")]);
    let context = || ProviderContext {
        follow_cname: false,
        ..context(Lookup {
            resolvers: vec![server.address()],
            ..Lookup::default()
        })
    };
    let accounts = json!({ "www.example.test": account(FULL) });
    assert_refusals("acme-dns", |url| acme_dns(url, &accounts, context()));

    let settings = AcmeDnsSettings {
        url: "https://auth.test".to_owned(),
        accounts: Secret::new(&format!("{{\"password\": \"{TOKEN}\"}}")),
    };
    let error = Provider::new(ProviderSettings::AcmeDns(settings), context()).expect_err("no JSON");
    let line = format!("{error} {error:?}");
    assert!(
        line.contains("not JSON with username") && !line.contains(TOKEN),
        "{line}"
    );
}
