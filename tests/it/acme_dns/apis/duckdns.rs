//! DuckDNS.

use gatelet::acme::dns::{Lookup, TokenApi::DuckDns};

use super::*;
use crate::{acme_dns::context, support::DnsServer};

/// Starts the service of one account, whose only domain is `home`; DNS shows `shown`.
fn duckdns(value: &Arc<Mutex<String>>, shown: &str) -> (WebService, DnsServer, Provider) {
    let value = value.clone();
    let service = WebService::start(move |asked| {
        let query = asked.path.strip_prefix("/update?").expect("an update");
        let part = |key: &str| {
            let key = format!("{key}=");
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(&key))
                .unwrap_or_default()
        };
        if (part("domains"), part("token")) != ("home", TOKEN) {
            return (200, "KO".to_owned());
        }
        let now = match part("clear") {
            "true" => "",
            _ => part("txt"),
        };
        *value.lock().expect("no panic") = now.to_owned();
        (200, "OK".to_owned())
    });
    let zone = format!("_acme-challenge.home TXT \"{shown}\"");
    let server = DnsServer::start(&[("duckdns.org", &zone), ("example.test", "")]);
    let lookup = Lookup {
        resolvers: vec![server.address()],
        ..Lookup::default()
    };
    let settings = TokenSettings {
        api: DuckDns,
        token: Secret::new(TOKEN),
        base: Some(service.url()),
    };
    let provider = Provider::new(ProviderSettings::Token(settings), context(lookup));
    (service, server, provider.expect("good settings"))
}

#[test]
fn duckdns_sets_the_only_value_and_clears_no_other() {
    let value: Arc<Mutex<String>> = Arc::default();
    let now = || value.lock().expect("no panic").clone();
    let (_service, _server, provider) = duckdns(&value, "two");
    let record = |value| TxtRecord::challenge("home.duckdns.org", value);
    run(async {
        for text in ["one", "two"] {
            provider.present(&record(text)).await.expect("published");
            assert_eq!(now(), text);
        }
        provider
            .remove(&record("one"))
            .await
            .expect("nothing to do");
        assert_eq!(now(), "two");
        provider.remove(&record("two")).await.expect("removed");
        assert_eq!(now(), "");
    });
}

#[test]
fn duckdns_names_a_domain_that_it_refuses() {
    let (_service, _server, provider) = duckdns(&Arc::default(), "");
    run(async {
        let other = TxtRecord::challenge("a.other.duckdns.org", "v");
        let error = provider.present(&other).await.expect_err("not ours");
        let line = error.to_string();
        assert!(!line.contains(TOKEN), "{line}");
        assert!(
            line.contains("zone other.duckdns.org: GET /update: 200 OK: KO; the token"),
            "{line}"
        );

        let error = provider.present(&record("v")).await.expect_err("elsewhere");
        assert!(
            error.to_string().contains("is not below duckdns.org"),
            "{error}"
        );
    });
}
