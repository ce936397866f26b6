//! Groups of endpoints by the labels of Pods: weights, requests that name one, and Pods that are
//! not known.

use super::*;
use crate::{
    objects::PodLabels,
    routing::{GroupSelector, Policy},
};

const BALANCE: (&str, &str) = (
    "haproxy-ingress.github.io/blue-green-balance",
    "group=blue=1,group=green=4",
);

fn pod(name: &str, labels: Value) -> Event {
    let value = json!({"metadata": {
        "name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": labels}});
    let pod = RawObject::parse(Kind::Pod, Bytes::from(value.to_string()));
    Event::Apply(Arc::new(pod.expect("a Pod")))
}

/// A slice with two endpoints of Pods.
fn two() -> Value {
    let of = |name: &str, last: u8| {
        json!({"addresses": [format!("192.0.2.{last}")],
            "targetRef": {"kind": "Pod", "uid": format!("uid-{name}")}})
    };
    slice("web-1", "web", json!([of("a", 1), of("b", 2)]))
}

/// An index with an Ingress for `/` and its Service, which has two endpoints.
fn with(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Index {
    let mut index = index();
    index.apply(apply(annotated(service("web"), of_service)));
    index.apply(apply(two()));
    let one = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(one, of_ingress)));
    index
}

/// Compiles, stores the endpoints, and returns their weights and groups; `None` for no endpoints.
fn compiled(index: &mut Index) -> (Output, Option<Vec<(u16, Option<String>)>>) {
    let output = index.compile();
    for update in &output.endpoints {
        update.backend.set_endpoints(update.endpoints.clone());
    }
    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a route").route.clone();
    let backend = route.backends().next().map(|one| one.endpoints().clone());
    let found = match backend.as_deref() {
        Some(EndpointSet::Addresses(list)) => Some(
            list.iter()
                .map(|one| (one.weight, one.group.as_deref().map(str::to_owned)))
                .collect(),
        ),
        _ => None,
    };
    (output, found)
}

fn weights(index: &mut Index) -> Option<Vec<u16>> {
    let (_, found) = compiled(index);
    found.map(|found| found.into_iter().map(|(weight, _)| weight).collect())
}

fn asked(labels: &[&str]) -> PodLabels {
    let asked = labels
        .iter()
        .map(|label| ("default".into(), (*label).into()));
    asked.collect()
}

/// Shows all Pods with these labels.
fn show(index: &mut Index, pods: &[(&str, &str)]) {
    index.apply(Event::Reset(Kind::Pod, Vec::new()));
    for (name, group) in pods {
        index.apply(pod(name, json!({"group": group})));
    }
    index.apply(Event::PodsKnown(asked(&["group"])));
}

fn asks_for_group(output: &Output) -> bool {
    output.pods == Some(asked(&["group"]))
}

const QUARTER: u16 = u16::MAX / 4 + 1;

#[test]
fn endpoints_have_the_weights_of_their_groups() {
    let mut index = with(&[BALANCE], &[]);
    // At the start nothing is served before the labels are known.
    assert!(matches!(compiled(&mut index), (output, None) if asks_for_group(&output)));
    assert!(index.waits());
    show(&mut index, &[("a", "blue"), ("b", "green")]);
    assert_eq!(weights(&mut index), Some(vec![QUARTER, u16::MAX]));
    assert!(!index.waits() && index.findings().is_empty());

    index.apply(pod("b", json!({"group": "blue"})));
    assert_eq!(weights(&mut index), Some(vec![1, 1]));
    // A Pod that is not known has no requests.
    index.apply(delete(Kind::Pod, "a"));
    assert_eq!(weights(&mut index), Some(vec![0, 1]));
    index.apply(pod("b", json!({})));
    assert_eq!(weights(&mut index), Some(vec![0, 0]));
    let findings = index.findings();
    assert_eq!(findings[0].reason, Reason::EndpointsWithoutGroup);

    let plain = ingress("web", "a.example", "/", "web");
    index.apply(apply(plain));
    assert_eq!(compiled(&mut index).0.pods, Some(PodLabels::default()));
    assert_eq!(weights(&mut index), Some(vec![1, 1]));
    assert!(index.findings().is_empty(), "{:?}", index.findings());
}

#[test]
fn requests_go_on_while_labels_are_not_known_yet() {
    let mut index = with(&[], &[]);
    assert_eq!(weights(&mut index), Some(vec![1, 1]));
    let one = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(one, &[BALANCE])));
    assert_eq!(weights(&mut index), Some(vec![1, 1]));
    show(&mut index, &[("a", "blue"), ("b", "green")]);
    assert_eq!(weights(&mut index), Some(vec![QUARTER, u16::MAX]));
}

#[test]
fn without_the_right_to_read_pods_nothing_has_requests() {
    let mut index = with(&[BALANCE], &[]);
    compiled(&mut index);
    index.apply(Event::Refused(Kind::Pod));
    let (output, found) = compiled(&mut index);
    assert_eq!(found_reasons(&output), ["PodsForbidden"]);
    assert!(
        found
            .expect("endpoints")
            .iter()
            .all(|(weight, _)| *weight == 0)
    );
    assert!(!index.waits());

    show(&mut index, &[("a", "blue"), ("b", "blue")]);
    let (output, found) = compiled(&mut index);
    assert!(found_reasons(&output).is_empty() && found.is_some());
}

#[test]
fn annotations_of_a_service_come_first() {
    let mut index = with(
        &[BALANCE],
        &[
            (
                "haproxy-ingress.github.io/blue-green-deploy",
                "group=blue=3,group=green=3",
            ),
            (
                "haproxy-ingress.github.io/blue-green-header",
                "X-Server:group",
            ),
        ],
    );
    compiled(&mut index);
    show(&mut index, &[("a", "blue"), ("b", "green")]);
    let (_, found) = compiled(&mut index);
    let found = found.expect("endpoints");
    let group = |name: &str| Some(name.to_owned());
    assert_eq!(found, [(1, group("blue")), (1, group("green"))]);
}

fn found_reasons(output: &Output) -> Vec<&'static str> {
    reasons(output)
        .into_iter()
        .map(|(_, reason)| reason)
        .collect()
}

/// Returns the property by which requests name a group, and the reasons of findings.
fn selector(annotations: &[(&str, &str)]) -> (Option<GroupSelector>, Vec<&'static str>) {
    let annotations: Vec<(String, &str)> = annotations
        .iter()
        .map(|(name, value)| {
            (
                format!("haproxy-ingress.github.io/blue-green-{name}"),
                *value,
            )
        })
        .collect();
    let annotations: Vec<(&str, &str)> = annotations
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    let mut index = with(&annotations, &[]);
    let output = index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let policy: Policy = {
        let route = found.expect("a route").route.clone();
        route.policy.as_deref().cloned().unwrap_or_default()
    };
    (
        policy.selector.map(|selector| *selector),
        found_reasons(&output),
    )
}

#[test]
fn requests_name_groups_by_a_field_and_a_cookie() {
    let (found, reasons) = selector(&[("header", "X-Server:group"), ("cookie", "Server:group")]);
    let found = found.expect("a selector");
    assert_eq!(found.header.expect("a field").as_str(), "x-server");
    assert_eq!(
        (found.cookie.as_deref(), reasons.len()),
        (Some("Server"), 0)
    );
    assert!(selector(&[("cookie", "Server:group")]).0.is_some());

    // They must mean the same label.
    let mixed = selector(&[("header", "X-Server:group"), ("cookie", "Server:other")]);
    assert_eq!(mixed, (None, vec!["InvalidAnnotation"]));
    assert_eq!(
        selector(&[("header", "X-Server")]),
        (None, vec!["InvalidAnnotation"])
    );
}

#[test]
fn weights_that_cannot_be_read_close_the_paths() {
    for of_service in [false, true] {
        let wrong = [("haproxy-ingress.github.io/blue-green-balance", "group=blue")];
        let mut index = match of_service {
            true => with(&[], &wrong),
            false => with(&wrong, &[]),
        };
        let output = index.compile();
        assert_eq!(found_reasons(&output), ["InvalidAnnotation"]);
        let found = index.table().find(Some("a.example"), "/", &GET);
        let route = found.expect("a route").route.clone();
        assert!(matches!(route.action, Action::Refuse(_)), "{of_service}");
    }
}

#[test]
fn endpoints_without_pods_have_the_labels_of_their_slices() {
    let mut index = with(&[BALANCE], &[]);
    index.objects.settings.standalone = true;
    let labelled = |name: &str, group: &str, last: u8| {
        let endpoints = json!([{"addresses": [format!("192.0.2.{last}")]}]);
        let mut one = slice(name, "web", endpoints);
        one["metadata"]["labels"]["group"] = group.into();
        apply(one)
    };
    index.apply(labelled("web-1", "blue", 1));
    index.apply(labelled("web-2", "green", 2));
    let (output, found) = compiled(&mut index);
    assert_eq!(output.pods, Some(PodLabels::default()));
    assert_eq!(found.expect("endpoints").len(), 2);
    assert_eq!(weights(&mut index), Some(vec![QUARTER, u16::MAX]));
}

#[test]
fn the_address_of_a_service_is_in_no_group() {
    let upstream = ("haproxy-ingress.github.io/service-upstream", "true");
    let mut index = with(&[BALANCE, upstream], &[]);
    let mut own = service("web");
    own["spec"]["clusterIP"] = "10.0.0.1".into();
    index.apply(apply(own));
    let (output, found) = compiled(&mut index);
    assert_eq!(found_reasons(&output), ["EndpointsWithoutGroup"]);
    assert!(found.is_none());
}
