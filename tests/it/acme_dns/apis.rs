//! Providers with a web API: the documented part of each API on loopback, with one zone,
//! `example.test`, in which the record of the challenge has a foreign value already.

mod acme_dns;
mod desec;
mod digitalocean;
mod duckdns;
mod gandi;
mod hetzner;
mod ovh;
mod porkbun;
mod route53;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use gatelet::acme::dns::{Provider, ProviderSettings, Secret, TokenApi, TokenSettings, TxtRecord};
use serde_json::Value;

use super::{run, services::provider};
use crate::support::{WebService, web_service::Asked};

/// The name of the record, and below the zone.
const NAME: &str = "_acme-challenge.www.example.test";
const BELOW: &str = "_acme-challenge.www";
const TOKEN: &str = "hunter2-token";

/// The records of the name, with their IDs.
#[derive(Clone)]
struct Records(Arc<Mutex<Vec<(u64, String)>>>);

impl Records {
    /// Starts with a foreign value as the API writes it.
    fn new(foreign: &str) -> Self {
        Self(Arc::new(Mutex::new(vec![(1, foreign.to_owned())])))
    }

    fn all(&self) -> Vec<(u64, String)> {
        self.0.lock().expect("no panic").clone()
    }

    fn raw(&self) -> Vec<String> {
        self.all().into_iter().map(|(_, raw)| raw).collect()
    }

    /// Returns the values without quotes, in order.
    fn texts(&self) -> Vec<String> {
        let mut all: Vec<String> = self.raw().iter().map(|raw| raw.replace('"', "")).collect();
        all.sort();
        all
    }

    fn add(&self, raw: &str) -> u64 {
        let mut all = self.0.lock().expect("no panic");
        let id = all.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1;
        all.push((id, raw.to_owned()));
        id
    }

    /// Removes a record, if it is there.
    fn delete(&self, id: &str) -> bool {
        let mut all = self.0.lock().expect("no panic");
        let before = all.len();
        all.retain(|(one, _)| one.to_string() != id);
        all.len() < before
    }

    fn set(&self, raw: Vec<String>) {
        *self.0.lock().expect("no panic") = (1..).zip(raw).collect();
    }
}

fn record(value: &str) -> TxtRecord {
    TxtRecord::challenge("www.example.test", value)
}

fn json(asked: &Asked) -> Value {
    serde_json::from_str(&asked.body).expect("JSON")
}

fn token_provider(api: TokenApi, base: String) -> Provider {
    provider(ProviderSettings::Token(TokenSettings {
        api,
        token: Secret::new(TOKEN),
        base: Some(base),
    }))
}

/// Publishes and removes two values beside the foreign one, and repeats each step.
fn assert_changes_single_values(provider: &Provider, records: &Records) {
    run(async {
        for value in ["one", "two", "one"] {
            provider.present(&record(value)).await.expect("published");
        }
        assert_eq!(records.texts(), ["foreign", "one", "two"]);
        for _ in 0..2 {
            provider.remove(&record("one")).await.expect("removed");
        }
        assert_eq!(records.texts(), ["foreign", "two"]);
        provider.remove(&record("two")).await.expect("removed");
        assert_eq!(records.texts(), ["foreign"]);

        // Without other values, the whole record set goes.
        records.set(Vec::new());
        provider.present(&record("one")).await.expect("published");
        provider.remove(&record("one")).await.expect("removed");
        assert!(records.texts().is_empty());
    });
}

/// Checks the error for a name of which the account has no zone.
fn assert_names_the_missing_zone(provider: &Provider) {
    let other = TxtRecord::challenge("other.test", "v");
    let error = run(provider.present(&other)).expect_err("no such zone");
    assert!(
        error.to_string().contains("has no zone that contains"),
        "{error}"
    );
}

/// Checks that errors have the API's words and not the token.
fn assert_refusals(kind: &str, provider: impl Fn(String) -> Provider) {
    for status in [401, 403, 409, 502] {
        let body = format!("{{\"message\":\"bad\\nluck with {TOKEN}\"}}");
        let service = WebService::start(move |_| (status, body.clone()));
        let provider = provider(service.url());
        let error = run(provider.present(&record("v"))).expect_err("refused");
        let line = format!("{error}");
        assert!(
            line.starts_with(&format!("{kind} {}, {NAME}: ", service.url())),
            "{line}"
        );
        assert!(line.contains(&format!(": {status} ")), "{line}");
        assert!(line.contains("bad luck with <hidden>"), "{line}");
        assert!(!format!("{line}{error:?}{provider:?}").contains(TOKEN));
    }

    let service = WebService::with_headers(|_| {
        let more = "Retry-After: 3600\r\n".to_owned();
        (429, more, "{\"detail\":\"slow down\"}".to_owned())
    });
    let error = run(provider(service.url()).present(&record("v"))).expect_err("too many");
    assert_eq!(error.retry_after(), Some(3600));
    assert!(error.to_string().contains("slow down"), "{error}");
}

/// Serves an API that asks to wait before every second request.
fn hesitant(answer: impl Fn(&Asked) -> (u16, String) + Send + 'static) -> WebService {
    let count = AtomicUsize::new(0);
    WebService::with_headers(move |asked| match count.fetch_add(1, Relaxed) % 2 {
        0 => (429, "Retry-After: 0\r\n".to_owned(), String::new()),
        _ => {
            let (status, body) = answer(asked);
            (status, String::new(), body)
        }
    })
}
