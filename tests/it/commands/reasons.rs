//! The reasons why something is not served, in `status`, `explain` and Events. It once was a silent
//! 503 or 404.

use serde_json::json;

use super::{
    super::support::backend::{ingress, manifests, service},
    *,
};

/// Waits for a finding and for the Event on its object. Returns its message.
fn event_message(gatelet: &Gatelet, kind: &str, name: &str, reason: &str) -> String {
    let object = format!("{kind} default/{name}");
    let message = eventually(reason, || {
        let status = gatelet.status();
        let findings = status["findings"].as_array().expect("a list");
        let found = findings
            .iter()
            .find(|one| one["object"] == *object && one["reason"] == reason)?;
        found["message"].as_str().map(str::to_owned)
    });
    eventually("its Event", || {
        let events = gatelet.kubectl(&["get", "events", "-o", "json"]);
        let events: Value = serde_json::from_str(&events).expect("JSON");
        let all = events["items"].as_array().expect("a list");
        let about = |event: &&Value| {
            event["involvedObject"]["name"] == name && event["involvedObject"]["kind"] == kind
        };
        all.iter()
            .filter(about)
            .any(|event| event["reason"] == reason)
            .then_some(())
    });
    message
}

fn explained(gatelet: &Gatelet, url: &str) -> Value {
    json(gatelet.command(&["explain", url, "-o", "json"]))
}

#[test]
fn a_service_without_endpoints_is_reported_with_its_reason() {
    let gatelet = Gatelet::start();
    let renamed = manifests("renamed", "renamed.example.com", 3000).replace(
        "ports: [{name: main, port: 3000",
        "ports: [{name: http, port: 3000",
    );
    let selecting = service("selecting", "").replace("spec: {", "spec: {selector: {app: web}, ");
    gatelet.apply(&(renamed + &selecting + &ingress("selecting", "selecting.example.com", "")));

    let message = event_message(&gatelet, "Service", "renamed", "EndpointPortMismatch");
    assert!(
        message.contains(
            "its name in the Service is \"main\", and EndpointSlice renamed-1 has \"http\""
        ),
        "{message}"
    );
    let message = event_message(&gatelet, "Service", "selecting", "SelectorWithoutPods");
    assert!(message.contains("Remove the selector"), "{message}");
    for (host, reason) in [
        ("renamed", "EndpointPortMismatch"),
        ("selecting", "SelectorWithoutPods"),
    ] {
        assert_eq!(gatelet.status_of(&format!("{host}.example.com"), "/"), 503);
        let report = explained(&gatelet, &format!("{host}.example.com"));
        assert_eq!(
            report["outcome"],
            format!("503: default/{host}:80 has no endpoints")
        );
        assert_eq!(
            (
                report["findings"].as_array().map(Vec::len),
                &report["findings"][0]["reason"]
            ),
            (Some(1), &json!(reason))
        );
        let text = good(gatelet.command(&["explain", &format!("{host}.example.com")]));
        assert!(
            rows(&text, "Findings")[0]
                .starts_with(&format!("Warning Service default/{host} {reason}")),
            "{text}"
        );
    }
}

#[test]
fn a_regular_expression_is_reported_and_closes_its_matches() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("app");
    gatelet.serve(
        &backend.manifests("app", "app.example.com"),
        "app.example.com",
    );
    let api = ingress("api", "app.example.com", "").replace("path: /,", "path: '/api(/|$)(.*)',");
    let api = api
        .replace("pathType: Prefix", "pathType: ImplementationSpecific")
        .replace("service: {name: api", "service: {name: app");
    gatelet.apply(&api);

    let message = event_message(&gatelet, "Ingress", "api", "UnsupportedPath");
    assert!(
        message.contains("503 for /api and what is below it"),
        "{message}"
    );
    assert_eq!(gatelet.status_of("app.example.com", "/api/x"), 503);
    assert_eq!(gatelet.status_of("app.example.com", "/other"), 200);
    let report = explained(&gatelet, "app.example.com/api/x");
    assert_eq!(
        report["outcome"],
        "503: the path of this route is a regular expression, which is not supported"
    );
    assert_eq!(
        report["candidates"][0]["path"],
        "regular expression /api(/|$)(.*)"
    );
    assert_eq!(report["findings"][0]["reason"], "UnsupportedPath");
}
