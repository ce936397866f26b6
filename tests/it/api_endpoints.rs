//! Endpoints in the mini cluster: they are mirrored as by the real controller, served, and written
//! only when they change.

use serde_json::{Value, json};

use super::support::{
    Backend, Gatelet, backend, control_plane::ControlPlane, eventually, gatelet::NODE,
};

/// Returns a Service without a selector, and Endpoints of the same name with these subsets.
fn manifests(name: &str, subsets: &Value) -> String {
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": name,
            "labels": { "app": name },
            "annotations": { "gatelet.dev/connect": "loopback" },
        },
        "subsets": subsets,
    });
    format!("{}{endpoints}\n---\n", backend::service(name, ""))
}

fn list(text: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(text).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

/// Returns the slices of a Service.
fn slices(gatelet: &Gatelet, service: &str) -> Vec<Value> {
    let label = format!("kubernetes.io/service-name={service}");
    list(&gatelet.kubectl(&["get", "endpointslice", "-l", &label, "-o", "json"]))
}

/// Returns the subsets of Endpoints at a port of this device.
fn here(port: u16) -> Value {
    let address = json!({ "ip": "192.0.2.1", "nodeName": NODE });
    json!([{ "addresses": [address], "ports": [{ "name": "main", "port": port }] }])
}

#[test]
fn a_service_is_served_at_the_addresses_of_its_endpoints() {
    let (one, two, gatelet) = (
        Backend::start("one"),
        Backend::start("two"),
        Gatelet::start(),
    );
    let ingress = backend::ingress("far", "far.example.com", "");
    gatelet.apply(&format!("{}{ingress}", manifests("far", &here(one.port))));
    eventually("it is served", || {
        (gatelet.status_of("far.example.com", "/") == 200).then_some(())
    });
    assert!(gatelet.get("far.example.com", "/").starts_with("one\n"));

    let name = slices(&gatelet, "far")[0]["metadata"]["name"].clone();
    gatelet.apply(&manifests("far", &here(two.port)));
    eventually("the change is served", || {
        gatelet
            .get("far.example.com", "/")
            .starts_with("two\n")
            .then_some(())
    });
    assert_eq!(
        slices(&gatelet, "far")[0]["metadata"]["name"],
        name,
        "the slice is updated, not replaced"
    );

    gatelet.kubectl(&["delete", "endpoints", "far"]);
    eventually("it has no endpoints", || {
        (gatelet.status_of("far.example.com", "/") == 503).then_some(())
    });
    assert_eq!(slices(&gatelet, "far"), Vec::<Value>::new());
}

#[test]
fn mirrored_endpoints_are_not_written_again() {
    let mut gatelet = Gatelet::start();
    gatelet.apply(&manifests("far", &here(80)));

    let before = eventually("it is mirrored", || slices(&gatelet, "far").pop());
    let endpoints = |gatelet: &Gatelet| gatelet.kubectl(&["get", "endpoints", "far", "-o", "json"]);
    let kept = endpoints(&gatelet);

    // After a restart all Endpoints are compared with their slices; once the other ones are
    // mirrored, this is done.
    gatelet.kill();
    gatelet.spawn();
    gatelet.wait_ready();
    gatelet.apply(&manifests("far", &here(80)));
    gatelet.apply(&manifests("other", &here(80)));
    eventually("the other one is mirrored", || {
        slices(&gatelet, "other").pop()
    });
    assert_eq!(slices(&gatelet, "far"), [before]);
    assert_eq!(endpoints(&gatelet), kept);
}

#[test]
fn a_removed_namespace_leaves_no_endpoints_or_slices() {
    let gatelet = Gatelet::start();
    gatelet.kubectl(&["create", "namespace", "ending"]);
    let file = gatelet
        .folder
        .write("far.yaml", &manifests("far", &here(80)));
    gatelet.kubectl(&[
        "apply",
        "-n",
        "ending",
        "-f",
        file.to_str().expect("a plain path"),
    ]);

    let all = || {
        gatelet.kubectl(&[
            "get",
            "endpoints,endpointslice",
            "-n",
            "ending",
            "-o",
            "name",
        ])
    };
    eventually("it is mirrored", || {
        all().contains("endpointslice").then_some(())
    });

    gatelet.kubectl(&["delete", "namespace", "ending", "--timeout=60s"]);
    eventually("nothing is left", || all().is_empty().then_some(()));
}

#[test]
fn an_event_reports_addresses_that_were_not_mirrored() {
    let gatelet = Gatelet::start();
    let addresses: Vec<Value> = (0..1001)
        .map(|number| json!({ "ip": format!("10.1.{}.{}", number / 250, number % 250 + 1) }))
        .collect();
    let subsets = json!([{ "addresses": addresses, "ports": [{ "name": "main", "port": 80 }] }]);
    // The object is too large for the annotation of `kubectl apply`.
    let file = gatelet
        .folder
        .write("many.yaml", &manifests("many", &subsets));
    gatelet.kubectl(&["create", "-f", file.to_str().expect("a plain path")]);

    let event = eventually("there is an Event", || {
        let path = "jsonpath={range .items[*]}{.involvedObject.kind} {.involvedObject.name} \
                    {.reason}: {.message}{end}";
        Some(gatelet.kubectl(&["get", "events", "-o", path])).filter(|event| !event.is_empty())
    });
    assert_eq!(
        event,
        "Endpoints many TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to \
         EndpointSlices per Endpoints subset. 1 addresses were skipped"
    );
}

/// Returns the names and subsets of Endpoints that the mirror is compared for.
fn cases() -> Vec<(&'static str, Value)> {
    let http = || json!([{ "name": "http", "port": 80 }]);
    let both = || {
        json!([
            { "name": "http", "port": 80 },
            { "name": "more", "port": 81, "protocol": "UDP" },
        ])
    };
    let reference = json!({ "kind": "Node", "name": "n", "uid": "u" });

    vec![
        (
            "plain",
            json!([{ "addresses": [{ "ip": "192.0.2.1" }], "ports": http() }]),
        ),
        ("none", json!([])),
        (
            "portless",
            json!([{ "addresses": [{ "ip": "192.0.2.1" }] }]),
        ),
        (
            "families",
            json!([{
                "addresses": [{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }],
                "ports": both(),
            }]),
        ),
        (
            "states",
            json!([
                { "addresses": [{ "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }], "ports": http() },
                {
                    "notReadyAddresses": [{ "ip": "192.0.2.2" }, { "ip": "192.0.2.3" }],
                    "ports": http(),
                },
            ]),
        ),
        (
            "split",
            json!([
                { "addresses": [{ "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }], "ports": http() },
                {
                    "addresses": [{ "ip": "192.0.2.1" }],
                    "ports": [{ "name": "other", "port": 82 }],
                },
                {
                    "addresses": [{ "ip": "192.0.2.2" }],
                    "ports": [{ "name": "http", "port": 83, "appProtocol": "h2c" }],
                },
            ]),
        ),
        (
            "named",
            json!([{
                "addresses": [{
                    "ip": "192.0.2.1",
                    "hostname": "one",
                    "nodeName": "n",
                    "targetRef": reference,
                }],
                "ports": [{ "port": 80, "appProtocol": "kubernetes.io/h2c" }],
            }]),
        ),
        (
            "doubled",
            json!([{
                "addresses": [{ "ip": "192.0.2.1" }, { "ip": "192.0.2.1" }],
                "ports": http(),
            }]),
        ),
    ]
}

#[test]
fn the_mirror_behaves_like_the_real_controller() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let gatelet = Gatelet::start();

    let mut text: String = cases()
        .iter()
        .map(|(name, subsets)| manifests(name, subsets))
        .collect();
    for (name, metadata) in [
        (
            "skipped",
            json!({ "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } }),
        ),
        (
            "kept",
            json!({ "labels": { "endpointslice.kubernetes.io/skip-mirror": "false" } }),
        ),
        (
            "locked",
            json!({ "annotations": { "control-plane.alpha.kubernetes.io/leader": "{}" } }),
        ),
    ] {
        let mut metadata = metadata;
        metadata["name"] = name.into();
        let endpoints = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": metadata,
            "subsets": cases()[0].1,
        });
        text += &format!("{}{endpoints}\n---\n", backend::service(name, ""));
    }

    // These Endpoints have no Service. There is no case for a Service with a selector: the real
    // endpoints controller creates the object itself.
    let alone = manifests("alone", &cases()[0].1);
    text += alone.split_once("---\n").expect("two documents").1;
    // Once the last one is mirrored, all others have been compared.
    text += &manifests("zz-last", &cases()[0].1);

    let mirrored = |text: &str| {
        let managed = |slice: &&Value| {
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                == "endpointslicemirroring-controller.k8s.io"
        };
        let mut slices: Vec<Value> = list(text).iter().filter(managed).map(essence).collect();
        slices.sort_by_key(Value::to_string);
        let last = slices
            .iter()
            .any(|slice| slice["metadata"]["generateName"] == "zz-last-");
        last.then_some(slices)
    };

    let all = ["get", "endpointslice", "-o", "json"];
    // While the controller starts, it may not know the Service yet and delete its Endpoints.
    eventually("the real controller runs", || {
        real.apply(&manifests("first", &cases()[0].1));
        real.kubectl(&all).contains("first-").then_some(())
    });
    real.kubectl(&["delete", "service", "first"]);
    eventually("the real controller removes the slice", || {
        (!real.kubectl(&all).contains("first-")).then_some(())
    });

    real.apply(&text);
    gatelet.apply(&text);
    let expected = eventually("the real controller has mirrored them", || {
        mirrored(&real.kubectl(&all)).filter(|slices| slices.len() >= 12)
    });
    let found = eventually("the mini cluster has mirrored them", || {
        mirrored(&gatelet.kubectl(&all)).filter(|slices| slices.len() >= 12)
    });
    assert_eq!(found, expected);
}

/// Returns a slice without the members that differ between servers, and with sorted lists.
fn essence(slice: &Value) -> Value {
    let mut slice = slice.clone();
    let metadata = slice["metadata"].as_object_mut().expect("it is there");
    for member in [
        "name",
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "managedFields",
    ] {
        metadata.remove(member);
    }

    slice["metadata"]["ownerReferences"][0]["uid"].take();
    // For a slice without ports the real server has null, and the mini cluster an empty list.
    if slice["ports"].is_null() {
        slice["ports"] = json!([]);
    }

    for member in ["endpoints", "ports"] {
        if let Some(items) = slice[member].as_array_mut() {
            items.sort_by_key(Value::to_string);
        }
    }

    slice
}
