//! Limits of clients and of responses: what annotations lead to.

use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::routing::{ClientLimits, Pace, Rate, RequestStep, Route};

const NGINX: &str = "nginx.ingress.kubernetes.io/";
const HAPROXY: &str = "haproxy-ingress.github.io/";

fn compiled(annotations: &[(&str, &str)]) -> (Arc<Route>, Vec<(String, &'static str)>) {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    for (name, value) in annotations {
        let whole = match name.contains('/') {
            true => (*name).to_owned(),
            false => format!("{NGINX}{name}"),
        };
        one["metadata"]["annotations"][whole] = (*value).into();
    }
    index.apply(apply(one));
    let output = index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    (found.expect("a route").route.clone(), reasons(&output))
}

fn limits(annotations: &[(&str, &str)]) -> Option<Arc<ClientLimits>> {
    let route = compiled(annotations).0;
    let steps = route.steps.as_ref()?.request.iter();
    let mut found = steps.filter_map(|step| match step {
        RequestStep::Limit(limits) => Some(limits.clone()),
        _ => None,
    });
    found.next()
}

fn rate(interval: Duration, burst: u32) -> Option<Rate> {
    Some(Rate { interval, burst })
}

#[test]
fn numbers_become_rates_with_the_burst_of_nginx() {
    let second = Duration::from_secs(1);
    let both = limits(&[("limit-rps", "10"), ("limit-rpm", "120")]).expect("limits");
    assert_eq!(
        both.limits.rates,
        [rate(second / 10, 50), rate(second / 2, 600)]
    );
    assert_eq!(
        (&*both.object, both.limits.in_flight),
        ("default/web", None)
    );
    assert_eq!(*both.from, *format!("{NGINX}limit-rpm, {NGINX}limit-rps"));

    let more = limits(&[("limit-rps", "2"), ("limit-burst-multiplier", "3")]);
    assert_eq!(
        more.expect("limits").limits.rates,
        [rate(second / 2, 6), None]
    );
    let in_flight = limits(&[("limit-connections", "4")]).expect("limits");
    assert_eq!(
        (in_flight.limits.rates, in_flight.limits.in_flight),
        ([None; 2], Some(4))
    );

    let none = "192.0.2.1".parse().expect("an address");
    for name in ["limit-allowlist", "limit-whitelist"] {
        let exempt = limits(&[("limit-rps", "1"), (name, "192.0.2.0/24")]);
        assert!(exempt.expect("limits").exempt.contains(none), "{name}");
        assert!(limits(&[(name, "192.0.2.0/24")]).is_none());
    }
    assert!(limits(&[("limit-rps", "0"), ("limit-connections", "0")]).is_none());
    assert!(limits(&[("limit-burst-multiplier", "3")]).is_none());
}

#[test]
fn limits_of_haproxy_have_their_period_and_status() {
    let second = Duration::from_secs(1);
    let requests = ("haproxy.org/rate-limit-requests", "10");
    let usual = limits(&[requests]).expect("limits");
    assert_eq!(usual.limits.rates, [rate(second / 10, 9), None]);
    assert_eq!(usual.status, Some(StatusCode::FORBIDDEN));

    let period = ("haproxy.org/rate-limit-period", "5s");
    let status = ("haproxy.org/rate-limit-status-code", "429");
    let whitelist = ("haproxy.org/rate-limit-whitelist", "192.0.2.0/24");
    let own = limits(&[requests, period, status, whitelist]).expect("limits");
    assert_eq!(own.limits.rates, [rate(second / 2, 9), None]);
    assert_eq!(own.status, Some(StatusCode::TOO_MANY_REQUESTS));
    assert!(
        own.exempt
            .contains("192.0.2.1".parse().expect("an address"))
    );
    assert!(limits(&[period, status, whitelist]).is_none());

    let ingress = "haproxy-ingress.github.io/limit-connections";
    let in_flight = limits(&[(ingress, "4")]).expect("limits");
    assert_eq!(
        (in_flight.limits.in_flight, in_flight.status),
        (Some(4), Some(StatusCode::TOO_MANY_REQUESTS))
    );
}

#[test]
fn a_rate_of_haproxy_ingress_has_no_burst() {
    let second = Duration::from_secs(1);
    let ingress = ("haproxy-ingress.github.io/limit-rps", "10");
    let evenly = limits(&[ingress]).expect("limits");
    assert_eq!(evenly.limits.rates, [rate(second / 10, 9), None]);
    assert_eq!(evenly.status, Some(StatusCode::TOO_MANY_REQUESTS));

    let burst = ("gatelet.dev/limit-burst-multiplier", "3");
    let more = limits(&[ingress, burst]).expect("limits");
    assert_eq!(more.limits.rates, [rate(second / 10, 30), None]);
    // Of several the upper one applies, with its burst.
    let both = limits(&[ingress, ("limit-rps", "2")]).expect("limits");
    assert_eq!(both.limits.rates, [rate(second / 2, 10), None]);
    // Under the older prefix it is that of ingress-nginx.
    let old = limits(&[("ingress.kubernetes.io/limit-rps", "10")]).expect("limits");
    assert_eq!(old.limits.rates, [rate(second / 10, 50), None]);
    assert_eq!(old.status, None);
}

/// The limits on the paths of two Ingresses to one Service with annotations.
fn of_service(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> [Option<Limited>; 2] {
    let named = |annotations: &[(&str, &str)]| -> serde_json::Map<String, Value> {
        let named = annotations.iter().map(|(name, value)| {
            let prefix = if name.contains('/') { "" } else { HAPROXY };
            (format!("{prefix}{name}"), (*value).into())
        });
        named.collect()
    };
    let mut index = index();
    let mut web = service("web");
    web["metadata"]["annotations"] = Value::Object(named(of_service));
    index.apply(apply(web));
    for name in ["one", "two"] {
        let mut one = ingress(name, &format!("{name}.example"), "/", "web");
        one["metadata"]["annotations"] = Value::Object(named(of_ingress));
        index.apply(apply(one));
    }
    index.compile();
    ["one", "two"].map(|name| {
        let host = format!("{name}.example");
        let found = index.table().find(Some(&host), "/", &GET);
        let route = found.expect("a route").route.clone();
        let mut steps = route.steps.as_ref()?.request.iter();
        steps.find_map(|step| match step {
            RequestStep::Limit(one) => Some(Limited {
                object: one.object.to_string(),
                rate: one.limits.rates[0].map(|rate| rate.interval),
                in_flight: one.limits.in_flight,
                status: one.status,
            }),
            _ => None,
        })
    })
}

#[derive(Debug, PartialEq)]
struct Limited {
    object: String,
    rate: Option<Duration>,
    in_flight: Option<u32>,
    status: Option<StatusCode>,
}

#[test]
fn limits_of_a_service_count_all_requests_to_it() {
    let second = Duration::from_secs(1);
    let ten = ("limit-rps", "10");
    let [one, two] = of_service(&[ten], &[]).map(|one| one.expect("limits"));
    assert_eq!((&*one.object, &*two.object), ("default/one", "default/two"));

    // As the backend of HAProxy they count together, whatever the Ingress is.
    let [one, two] = of_service(&[ten], &[("limit-connections", "3")]);
    let one = one.expect("limits");
    assert_eq!(one.object, "Service default/web");
    assert_eq!((one.rate, one.in_flight), (Some(second / 10), Some(3)));
    assert_eq!(Some(one), two);

    let [own, _] = of_service(&[ten], &[("limit-rps", "2")]);
    assert_eq!(own.expect("limits").rate, Some(second / 2));
    assert_eq!(of_service(&[ten], &[("limit-rps", "0")]), [None, None]);
    // An invalid value does not take away that of the Ingress.
    let [left, _] = of_service(&[ten], &[("limit-rps", "two")]);
    assert_eq!(left.expect("limits").rate, Some(second / 10));

    let period = ("haproxy.org/rate-limit-period", "10s");
    let requests = ("haproxy.org/rate-limit-requests", "5");
    let [own, _] = of_service(&[period], &[requests]);
    let own = own.expect("limits");
    assert_eq!(own.rate, Some(second * 2));
    assert_eq!(own.status, Some(StatusCode::FORBIDDEN));
    // ingress-nginx reads nothing on Services.
    let nginx = ("nginx.ingress.kubernetes.io/limit-rps", "1");
    assert_eq!(of_service(&[], &[nginx]), [None, None]);
}

#[test]
fn an_invalid_limit_neither_limits_nor_closes() {
    for (name, value) in [
        ("limit-rps", "ten"),
        ("limit-rps", "-1"),
        ("limit-rpm", ""),
        ("limit-connections", "1.5"),
        ("limit-rate", "10k"),
    ] {
        let (route, reasons) = compiled(&[(name, value)]);
        assert!(
            matches!(route.action, Action::Forward(_)),
            "{name}: {value}"
        );
        assert_eq!(
            reasons,
            [("web".to_owned(), "InvalidAnnotation")],
            "{name}: {value}"
        );
        assert!(limits(&[(name, value)]).is_none(), "{name}: {value}");
    }
    // The others stay, and an invalid list exempts no client.
    let rest = limits(&[("limit-rps", "1"), ("limit-allowlist", "everybody")]);
    assert!(rest.expect("limits").exempt.is_empty());
}

#[test]
fn a_client_is_counted_before_it_logs_in() {
    let annotations = [("limit-rps", "1"), ("denylist-source-range", "192.0.2.1")];
    let route = compiled(&annotations).0;
    let steps = &route.steps.as_ref().expect("steps").request;
    let place = |wanted: fn(&RequestStep) -> bool| steps.iter().position(wanted);
    let limit = place(|step| matches!(step, RequestStep::Limit(_)));
    let access = place(|step| matches!(step, RequestStep::Access(_)));
    let https = place(|step| matches!(step, RequestStep::HttpsRedirect { .. }));
    assert!(https < limit && limit < access);
}

#[test]
fn kilobytes_become_the_pace_of_responses() {
    let pace = |annotations: &[(&str, &str)]| {
        let policy = compiled(annotations).0.policy.clone()?;
        policy.pace
    };
    let slow = Pace {
        rate: 10 << 10,
        after: 0,
    };
    assert_eq!(pace(&[("limit-rate", "10")]), Some(slow));
    let after = pace(&[("limit-rate", "10"), ("limit-rate-after", "1")]);
    assert_eq!(
        after,
        Some(Pace {
            after: 1 << 10,
            ..slow
        })
    );
    assert_eq!(
        pace(&[("limit-rate", "0"), ("limit-rate-after", "1")]),
        None
    );
}
