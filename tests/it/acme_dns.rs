//! Records of DNS-01 challenges, published and removed on a real DNS server (knot), through web
//! services and by programs.

mod apis;
mod services;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gatelet::{
    acme::dns::{
        Lookup, PersistPolicy, Propagation, Provider, ProviderContext, ProviderSettings,
        Rfc2136Settings, Secret, TsigKey, TxtRecord, WebhookSettings, advice, caa_allows,
        persist_record, persisted, visible,
    },
    http_client::{Http, HttpSettings},
};
use rustls::pki_types::UnixTime;

use super::support::{
    DnsServer, Folder, WebService,
    dns_server::{KEY, POWERLESS_KEY, SECRET},
    free_port,
};

const ZONE: (&str, &str) = (
    "example.test",
    "www A 192.0.2.1\nwww AAAA 2001:db8::1\nalias CNAME www
@ CAA 0 issue \"ca.example\"\n@ CAA 0 issuewild \"; policy=none\"
_acme-challenge.delegated CNAME delegated.other.test.
_acme-challenge.loop CNAME _acme-challenge.loop
*.wild CNAME delegated.other.test.
below NS ns.elsewhere.test.",
);

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

fn context(lookup: Lookup) -> ProviderContext {
    let http = Http::new(HttpSettings::new(Arc::new(UnixTime::now))).expect("a client");
    ProviderContext {
        lookup,
        follow_cname: true,
        http,
        time: Arc::new(UnixTime::now),
    }
}

fn lookup(server: &DnsServer) -> Lookup {
    Lookup {
        resolvers: vec![server.address()],
        propagation: Propagation::Authoritative { port: server.port },
    }
}

fn key(name: &str, secret: &str) -> Option<TsigKey> {
    Some(TsigKey {
        name: name.to_owned(),
        algorithm: "hmac-sha256".to_owned(),
        secret: Secret::new(secret),
    })
}

fn update(server: SocketAddr, key: Option<TsigKey>) -> ProviderSettings {
    ProviderSettings::Rfc2136(Rfc2136Settings {
        server,
        zone: None,
        key,
    })
}

/// Returns a provider that updates the server with a key.
fn provider(server: &DnsServer, key: Option<TsigKey>) -> Provider {
    Provider::new(update(server.address(), key), context(lookup(server))).expect("good settings")
}

#[test]
fn signed_updates_publish_and_remove_two_values() {
    let server = DnsServer::start(&[ZONE]);
    let provider = provider(&server, key(KEY, SECRET));
    let lookup = lookup(&server);
    let base = TxtRecord::challenge("www.example.test", "value-of-the-base");
    let wildcard = TxtRecord::challenge("*.www.example.test", "value-of-the-wildcard");
    let values = || server.ask("_acme-challenge.www.example.test", "TXT");
    run(async {
        assert_eq!(visible(&base, &lookup).await, Ok(false));
        provider.present(&base).await.expect("published");
        assert_eq!(visible(&base, &lookup).await, Ok(true));
        assert_eq!(visible(&wildcard, &lookup).await, Ok(false));
        provider.present(&wildcard).await.expect("published");
        provider.present(&wildcard).await.expect("published again");
        assert_eq!(values(), ["value-of-the-base", "value-of-the-wildcard"]);
        assert_eq!(
            (
                visible(&base, &lookup).await,
                visible(&wildcard, &lookup).await
            ),
            (Ok(true), Ok(true))
        );
        let resolved = Lookup {
            propagation: Propagation::Resolvers,
            ..lookup.clone()
        };
        assert_eq!(visible(&base, &resolved).await, Ok(true));

        provider.remove(&base).await.expect("removed");
        provider.remove(&base).await.expect("removed again");
        assert_eq!(values(), ["value-of-the-wildcard"]);
        assert_eq!(
            (
                visible(&base, &lookup).await,
                visible(&wildcard, &lookup).await
            ),
            (Ok(false), Ok(true))
        );
        provider.remove(&wildcard).await.expect("removed");
        assert!(values().is_empty());
    });
}

#[test]
fn updates_follow_a_delegating_cname() {
    let server = DnsServer::start(&[ZONE, ("other.test", "")]);
    let provider = provider(&server, key(KEY, SECRET));
    let record = TxtRecord::challenge("delegated.example.test", "value");
    run(async {
        provider.present(&record).await.expect("published");
        assert_eq!(server.ask("delegated.other.test", "TXT"), ["value"]);
        assert_eq!(visible(&record, &lookup(&server)).await, Ok(true));
        provider.remove(&record).await.expect("removed");
        assert!(server.ask("delegated.other.test", "TXT").is_empty());
        let error = provider
            .present(&TxtRecord::challenge("loop.example.test", "v"))
            .await
            .expect_err("no end");
        assert!(error.to_string().contains("too many CNAMEs"), "{error}");
        assert!(
            error.to_string().contains("follow_cname = false"),
            "{error}"
        );
    });
}

/// The CNAME of a wildcard is for web servers, and leads to a zone without challenges.
#[test]
fn a_cname_of_a_wildcard_is_not_followed() {
    let server = DnsServer::start(&[ZONE, ("other.test", "")]);
    let update = provider(&server, key(KEY, SECRET));
    let record = TxtRecord::challenge("www.wild.example.test", "value");
    run(async {
        update.present(&record).await.expect("published");
        assert_eq!(server.ask(&record.fqdn, "TXT"), ["value"]);
        assert!(server.ask("delegated.other.test", "TXT").is_empty());
        assert_eq!(visible(&record, &lookup(&server)).await, Ok(true));
        update.remove(&record).await.expect("removed");
        assert_eq!(server.ask(&record.fqdn, "TXT"), ["delegated.other.test."]);
    });
}

#[test]
fn an_error_names_the_cname_its_server_and_the_setting() {
    let server = DnsServer::start(&[ZONE, ("other.test", "")]);
    let service = WebService::start(|asked| (422, asked.body.clone()));
    let webhook = ProviderSettings::Webhook(WebhookSettings {
        url: service.url(),
        login: None,
    });
    let webhook = Provider::new(webhook, context(lookup(&server))).expect("good settings");
    let at = server.address();
    for (name, published, note) in [
        (
            "delegated.example.test",
            "delegated.other.test.",
            format!(
                "_acme-challenge.delegated.example.test. is a CNAME of delegated.other.test. at \
                 {at}; to publish at _acme-challenge.delegated.example.test. itself, set \
                 `follow_cname = false`"
            ),
        ),
        (
            "www.wild.example.test",
            "_acme-challenge.www.wild.example.test.",
            format!(
                "the CNAME delegated.other.test. of _acme-challenge.www.wild.example.test. at \
                 {at} is not followed"
            ),
        ),
    ] {
        let error = run(webhook.present(&TxtRecord::challenge(name, "v"))).expect_err("refused");
        let line = error.to_string();
        assert!(
            line.contains(&format!("\"fqdn\":\"{published}\"")),
            "{line}"
        );
        assert!(line.contains(&note), "{line}");
    }
}

#[test]
fn refused_updates_are_reported_with_their_reason() {
    let server = DnsServer::start(&[ZONE]);
    let record = TxtRecord::challenge("www.example.test", "value");
    let says = async |provider: &Provider, record: &TxtRecord, reason: &str| {
        let error = provider.present(record).await.expect_err(reason);
        let line = error.to_string();
        assert!(line.contains(reason), "{line}");
        assert!(
            line.starts_with("rfc2136 127.0.0.1:") && line.contains(&record.fqdn),
            "{line}"
        );
        assert!(!line.contains(SECRET) && !line.contains('\n'), "{line}");
    };
    run(async {
        let of = |key| provider(&server, key);
        says(
            &of(key("nobody", SECRET)),
            &record,
            "does not know the key nobody., or",
        )
        .await;
        says(
            &of(key(KEY, "d3Jvbmc=")),
            &record,
            "the key acme. differs from the server's (BADSIG)",
        )
        .await;
        says(
            &of(key(POWERLESS_KEY, SECRET)),
            &record,
            "does not accept it for this zone (BADKEY)",
        )
        .await;
        says(
            &of(None),
            &record,
            "example.test., or requires a signature (NOTAUTH)",
        )
        .await;
        let plain = ProviderContext {
            follow_cname: false,
            ..context(lookup(&server))
        };
        let good = Provider::new(update(server.address(), key(KEY, SECRET)), plain)
            .expect("good settings");
        says(
            &good,
            &TxtRecord::challenge("other.test", "v"),
            "not authoritative for any zone",
        )
        .await;
        says(
            &good,
            &TxtRecord::challenge("a.below.example.test", "v"),
            "to other servers",
        )
        .await;

        let two_hours_ago =
            || UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - 7200));
        let late = ProviderContext {
            time: Arc::new(two_hours_ago),
            ..context(lookup(&server))
        };
        let late =
            Provider::new(update(server.address(), key(KEY, SECRET)), late).expect("good settings");
        says(&late, &record, "the clocks differ: it is 20").await;

        let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let nobody = Provider::new(update(nobody, key(KEY, SECRET)), context(lookup(&server)))
            .expect("good settings");
        says(&nobody, &record, "Connection refused").await;
    });
    assert!(
        server
            .ask("_acme-challenge.www.example.test", "TXT")
            .is_empty()
    );
}

#[test]
fn a_secret_is_read_again_before_each_use() {
    let (server, folder) = (DnsServer::start(&[ZONE]), Folder::new());
    // Not the server's secret, as after a change on the server only.
    let file = folder.write("secret", "d3Jvbmc=");
    let secret = Secret::read(&file).expect("a file");
    let key = TsigKey {
        name: KEY.to_owned(),
        algorithm: "hmac-sha256".to_owned(),
        secret,
    };
    let provider = provider(&server, Some(key));
    let record = TxtRecord::challenge("www.example.test", "value");
    run(async {
        let error = provider
            .present(&record)
            .await
            .expect_err("another key")
            .to_string();
        assert!(
            error.contains("differs from the server's (BADSIG)"),
            "{error}"
        );
        folder.write("secret", &format!("{SECRET}\n"));
        provider.present(&record).await.expect("published");
        std::fs::remove_file(&file).expect("it is there");
        let error = provider.remove(&record).await.expect_err("no file");
        assert!(
            error
                .to_string()
                .contains(&format!("{}: No such file", file.display())),
            "{error}"
        );
        folder.write("secret", SECRET);
        provider.remove(&record).await.expect("removed");
    });
}

#[test]
fn a_check_fails_if_no_server_of_the_zone_responds() {
    let server = DnsServer::start(&[ZONE]);
    let record = TxtRecord::challenge("www.example.test", "value");
    run(async {
        let wrong_port = Lookup {
            propagation: Propagation::Authoritative { port: free_port() },
            ..lookup(&server)
        };
        let error = visible(&record, &wrong_port)
            .await
            .expect_err("nobody there");
        assert!(
            error
                .to_string()
                .contains("no server of the zone example.test. responds"),
            "{error}"
        );
    });
}

#[test]
fn advice_has_addresses_and_the_relevant_caa_records() {
    let server = DnsServer::start(&[ZONE]);
    let facts = run(advice("*.alias.example.test", &lookup(&server)));
    assert_eq!(facts.problems, []);
    let addresses = ["2001:db8::1", "192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(facts.addresses, addresses);
    assert_eq!(facts.caa_at.as_deref(), Some("example.test"));
    assert!(caa_allows(
        &facts.caa,
        &["ca.example"],
        false,
        None,
        "dns-01"
    ));
    assert!(!caa_allows(
        &facts.caa,
        &["ca.example"],
        true,
        None,
        "dns-01"
    ));
    assert!(!caa_allows(
        &facts.caa,
        &["other.example"],
        false,
        None,
        "dns-01"
    ));

    let facts = run(advice("nothing.example.test", &lookup(&server)));
    assert!(facts.addresses.is_empty() && facts.problems.is_empty());
    let nobody = Lookup {
        resolvers: vec![SocketAddr::from(([127, 0, 0, 1], free_port()))],
        ..Lookup::default()
    };
    assert_eq!(run(advice("www.example.test", &nobody)).problems.len(), 3);
}

#[test]
fn a_dns_persist_01_record_is_found() {
    let policy = PersistPolicy {
        issuer_domains: &["ca.example"],
        account_uri: "https://ca.example/acct/1",
        wildcard: true,
    };
    let record = persist_record("*.www.example.test", &policy);
    let zone = format!(
        "www A 192.0.2.1\n_validation-persist.www TXT \"{}; persistUntil=2000000000\"",
        record.value
    );
    let server = DnsServer::start(&[("example.test", &zone)]);
    run(async {
        let asked = async |name, now| persisted(name, &policy, now, &lookup(&server)).await;
        assert_eq!(asked("*.www.example.test", 1_900_000_000).await, Ok(true));
        assert_eq!(asked("*.www.example.test", 2_000_000_000).await, Ok(false));
        assert_eq!(asked("example.test", 0).await, Ok(false));
    });
}
