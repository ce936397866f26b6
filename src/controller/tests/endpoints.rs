//! Findings for Services without endpoints.

use super::*;

/// The findings about Services.
fn reported(output: &Output) -> Vec<(String, &'static str, String)> {
    let findings = output
        .findings
        .iter()
        .flatten()
        .filter(|finding| finding.about.key.kind == Kind::Service);
    findings
        .map(|finding| {
            (
                finding.about.key.name.to_string(),
                finding.reason.as_str(),
                finding.message.to_string(),
            )
        })
        .collect()
}

fn named(mut slice: Value, port: &str) -> Value {
    slice["ports"][0]["name"] = port.into();
    slice
}

fn endpoints() -> Value {
    json!([{"addresses": ["10.0.0.1"]}])
}

#[test]
fn a_slice_with_another_name_for_the_port_is_a_finding() {
    let mut index = index();
    let mut web = service("web");
    web["metadata"]["uid"] = "uid-web".into();
    index.apply(apply(web));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    index.apply(apply(named(slice("web-1", "web", endpoints()), "http")));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "empty");

    let expected = "no endpoints for port 80, 503: its name in the Service is \"web\", and \
        EndpointSlice web-1 has \
                    \"http\". Give it the same name in both";
    assert_eq!(
        reported(&output),
        [(
            "web".to_owned(),
            "EndpointPortMismatch",
            expected.to_owned()
        )]
    );
    let about = &output.findings.as_ref().expect("findings")[0].about;
    assert_eq!((about.key.kind, &*about.uid), (Kind::Service, "uid-web"));

    // Another slice that has it is enough.
    index.apply(apply(slice("web-2", "web", endpoints())));
    let output = index.compile();
    live(&output);
    assert_eq!(
        (met(&index, "a.example", "/"), reported(&output)),
        ("10.0.0.1:8080".to_owned(), vec![])
    );

    index.apply(delete(Kind::EndpointSlice, "web-2"));
    live(&index.compile());
    index.apply(delete(Kind::Ingress, "web"));
    assert_eq!(
        reported(&index.compile()),
        [],
        "nothing leads there any more"
    );
}

#[test]
fn each_form_of_a_different_port_name_is_reported() {
    for (service_port, slice_ports, expected) in [
        (
            json!({"port": 80}),
            json!([{"name": "http", "port": 1}]),
            "in the Service is empty, and EndpointSlice s has \"http\"",
        ),
        (
            json!({"name": "web", "port": 80}),
            json!([{"port": 1}]),
            "is \"web\", and EndpointSlice s has without a name",
        ),
        (
            json!({"name": "web", "port": 80}),
            json!([]),
            "is \"web\", and EndpointSlice s has no TCP port",
        ),
        (
            json!({"name": "web", "port": 80}),
            json!([{"name": "web", "port": 1, "protocol": "UDP"}]),
            "is \"web\", and EndpointSlice s has no TCP port",
        ),
    ] {
        let mut index = index();
        let mut web = service("web");
        web["spec"]["ports"] = json!([service_port]);
        index.apply(apply(web));
        index.apply(apply(ingress("web", "a.example", "/", "web")));
        let mut one = slice("s", "web", endpoints());
        one["ports"] = slice_ports;
        index.apply(apply(one));
        let reported = reported(&index.compile());
        assert!(reported[0].2.contains(expected), "{reported:?}");
    }
}

#[test]
fn a_service_without_ready_pods_is_no_finding() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(service("unused")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    index.apply(apply(named(slice("web-1", "web", json!([])), "http")));
    index.apply(apply(named(
        slice("unused-1", "unused", endpoints()),
        "http",
    )));
    assert_eq!(reported(&index.compile()), []);
}

#[test]
fn a_selector_in_the_mini_cluster_is_a_finding() {
    for (standalone, selector, expected) in [
        (true, json!({"app": "web"}), 1),
        (true, json!({}), 0),
        (true, json!(null), 0),
        (false, json!({"app": "web"}), 0),
    ] {
        let mut index = index();
        index.objects.settings.standalone = standalone;
        let mut web = service("web");
        web["spec"]["selector"] = selector.clone();
        index.apply(apply(web.clone()));
        index.apply(apply(ingress("web", "a.example", "/", "web")));
        web["metadata"]["name"] = "unused".into();
        index.apply(apply(web));
        let output = index.compile();
        assert_eq!(reported(&output).len(), expected, "{selector} {standalone}");
        if let [(name, reason, message)] = &reported(&output)[..] {
            assert_eq!((&**name, *reason), ("web", "SelectorWithoutPods"));
            assert!(
                message.contains(
                    "write an EndpointSlice with the label kubernetes.io/service-name: web"
                ),
                "{message}"
            );
        }

        // The endpoints have been written by hand.
        index.apply(apply(slice("web-1", "web", endpoints())));
        let output = index.compile();
        assert_eq!(
            (output.findings.is_some(), reported(&output).len()),
            (expected == 1, 0),
            "{selector} {standalone}"
        );
    }
}

#[test]
fn the_services_of_default_backends_are_looked_at_too() {
    let mut index = index();
    index.objects.settings.standalone = true;
    index.objects.settings.default_backend = Some("default/last:80".into());
    for name in ["all", "last"] {
        let mut one = service(name);
        one["spec"]["selector"] = json!({"app": name});
        index.apply(apply(one));
    }

    let mut all = ingress("all", "", "/", "all");
    all["spec"] = json!({"defaultBackend": {"service": {"name": "all", "port": {"number": 80}}}});
    index.apply(apply(all));
    let names = |output: &Output| {
        reported(output)
            .into_iter()
            .map(|(name, ..)| name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&index.compile()), ["all"]);

    index.apply(delete(Kind::Ingress, "all"));
    assert_eq!(names(&index.compile()), ["last"]);
}

#[test]
fn requests_go_to_the_address_of_a_service_that_asks_for_it() {
    let with_address = |address: &str| {
        let mut web = service("web");
        web["spec"]["clusterIP"] = address.into();
        web
    };
    let mut index = index();
    index.apply(apply(with_address("10.96.0.7")));
    index.apply(apply(slice("web-1", "web", endpoints())));
    index.apply(apply(ingress("plain", "plain.example", "/", "web")));
    let rule = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(rule, &[("service-upstream", "true")])));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.96.0.7:80");
    assert_eq!(met(&index, "plain.example", "/"), "10.0.0.1:8080");
    assert!(reasons(&output).is_empty());

    // It was created again.
    index.apply(apply(with_address("10.96.0.8")));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.96.0.8:80");

    // Headless.
    index.apply(apply(with_address("None")));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
    assert_eq!(
        reasons(&output),
        [("web".to_owned(), "UnsupportedAnnotation")]
    );
}

#[test]
fn a_service_of_traefik_asks_for_its_own_address() {
    let mut index = index();
    let mut web = service("web");
    web["spec"]["clusterIP"] = "10.96.0.7".into();
    let native = "traefik.ingress.kubernetes.io/service.nativelb";
    web["metadata"]["annotations"][native] = "true".into();
    index.apply(apply(web.clone()));
    index.apply(apply(slice("web-1", "web", endpoints())));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.96.0.7:80");
    assert!(reasons(&output).is_empty());

    web["metadata"]["annotations"][native] = "false".into();
    index.apply(apply(web));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
}

#[test]
fn in_the_mini_cluster_a_service_is_its_endpoints() {
    let mut index = index();
    index.objects.settings.standalone = true;
    let mut web = service("web");
    web["spec"]["clusterIP"] = "10.96.0.7".into();
    index.apply(apply(web));
    index.apply(apply(slice("web-1", "web", endpoints())));
    let rule = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(rule, &[("service-upstream", "true")])));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
}
