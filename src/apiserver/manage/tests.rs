use super::*;
use crate::{apiserver::registry, objects::Kind};

fn origin(manager: &str, kind: Kind) -> Origin<'static> {
    Origin {
        manager: manager.to_owned(),
        resource: registry::of(kind),
        subresource: None,
    }
}

fn service(ports: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "web" },
        "spec": { "ports": ports },
    })
}

fn config_map(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data })
}

/// Applies an object to a live one, with force.
fn apply(manager: &str, kind: Kind, live: Option<&Value>, applied: &Value) -> Value {
    origin(manager, kind).apply(live, applied, true).unwrap()
}

/// Returns the managers of an object with their fields.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let entry = |entry: &Value| {
        let name = entry["manager"].as_str().unwrap();
        (name.to_owned(), entry["fieldsV1"].clone())
    };
    entries.into_iter().flatten().map(entry).collect()
}

fn ports(object: &Value) -> Vec<i64> {
    let ports = object["spec"]["ports"].as_array().unwrap().iter();
    ports.map(|port| port["port"].as_i64().unwrap()).collect()
}

#[test]
fn sets_of_fields_are_decoded_and_encoded() {
    let fields = json!({
        "f:data": {},
        "f:metadata": {
            "f:labels": { ".": {}, "f:a.b/c": {} },
            "f:finalizers": { "v:\"x\"": {} },
        },
        "f:spec": {
            "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {} } },
        },
        "f:x": { "i:2": {} },
    });
    let set = FieldSet::decode(&fields).unwrap();
    assert_eq!(set.encode(), fields);
    assert_eq!(
        set.paths(),
        [
            ".data",
            ".metadata.labels",
            ".metadata.finalizers[=\"x\"]",
            ".metadata.labels.a.b/c",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].name",
            ".x[2]",
        ]
    );

    let deep = (0..100).fold(json!({}), |below, _level| json!({ "f:a": below }));
    for damaged in [
        json!([]),
        json!({ "f:a": 1 }),
        json!({ "a": {} }),
        json!({ "k:1": {} }),
        json!({ "v:{": {} }),
        json!({ "i:x": {} }),
        deep,
    ] {
        assert!(FieldSet::decode(&damaged).is_err(), "{damaged}");
    }
}

#[test]
fn sets_combine_field_by_field() {
    let set = |fields: Value| FieldSet::decode(&fields).unwrap();
    let (one, other) = (
        set(json!({ "f:a": { ".": {}, "f:b": {}, "f:c": {} } })),
        set(json!({ "f:a": { "f:b": {} }, "f:d": {} })),
    );
    assert_eq!(
        one.union(&other).encode(),
        json!({ "f:a": { ".": {}, "f:b": {}, "f:c": {} }, "f:d": {} })
    );
    assert_eq!(
        one.intersection(&other).encode(),
        json!({ "f:a": { "f:b": {} } })
    );
    assert_eq!(
        one.difference(&other).encode(),
        json!({ "f:a": { ".": {}, "f:c": {} } })
    );
    assert!(one.difference(&one).is_empty());
}

#[test]
fn an_applier_loses_the_fields_that_it_drops() {
    let first = config_map(&json!({ "a": "1", "b": "1" }));
    let live = apply("one", Kind::ConfigMap, None, &first);
    let live = apply(
        "two",
        Kind::ConfigMap,
        Some(&live),
        &config_map(&json!({ "b": "1", "c": "1" })),
    );
    let live = apply("one", Kind::ConfigMap, Some(&live), &config_map(&json!({})));

    // The other applier still owns one of the dropped fields.
    assert_eq!(live["data"], json!({ "b": "1", "c": "1" }));
    assert_eq!(
        managers(&live),
        [
            ("one".to_owned(), json!({ "f:data": {} })),
            (
                "two".to_owned(),
                json!({ "f:data": { "f:b": {}, "f:c": {} } })
            ),
        ]
    );
}

#[test]
fn an_apply_conflicts_with_the_owners_of_what_it_changes() {
    let first = config_map(&json!({ "a": "1", "b": "1" }));
    let old = apply("one", Kind::ConfigMap, None, &first);
    let mut live = old.clone();
    live["data"]["b"] = "2".into();
    origin("edit", Kind::ConfigMap).update(Some(&old), &mut live);

    let applied = config_map(&json!({ "a": "3", "b": "3", "c": "3" }));
    let two = origin("two", Kind::ConfigMap);
    let conflict = |manager: &str, field: &str| Conflict {
        manager: manager.to_owned(),
        field: field.to_owned(),
    };
    assert_eq!(
        two.apply(Some(&live), &applied, false),
        Err(vec![
            conflict("\"edit\" using v1", ".data.b"),
            conflict("\"one\"", ".data.a"),
        ])
    );

    let forced = two.apply(Some(&live), &applied, true).unwrap();
    assert_eq!(forced["data"], applied["data"]);
    let all = json!({ "f:data": { "f:a": {}, "f:b": {}, "f:c": {} } });
    assert_eq!(managers(&forced), [("two".to_owned(), all)]);

    // The same values are no conflict: both own the field.
    let same = config_map(&json!({ "a": "1" }));
    let shared = two.apply(Some(&live), &same, false).unwrap();
    assert_eq!(shared["data"], live["data"]);
    assert_eq!(managers(&shared).len(), 3);
}

#[test]
fn applied_items_of_a_list_keep_their_order_among_the_live_ones() {
    let port = |number: i64| json!({ "name": format!("p{number}"), "port": number });
    let list = |numbers: &[i64]| service(&numbers.iter().map(|n| port(*n)).collect());
    let live = apply("one", Kind::Service, None, &list(&[1, 2, 3, 4]));
    for (applied, expected) in [
        (&[5][..], &[1, 2, 3, 4, 5][..]),
        (&[5, 1], &[5, 1, 2, 3, 4]),
        (&[4, 1], &[2, 3, 4, 1]),
        (&[2, 5], &[1, 2, 3, 4, 5]),
        (&[3, 2, 1], &[3, 4, 2, 1]),
    ] {
        let merged = apply("two", Kind::Service, Some(&live), &list(applied));
        assert_eq!(ports(&merged), expected, "{applied:?}");
    }
}

#[test]
fn an_item_stays_while_one_of_its_appliers_keeps_it() {
    let port = |number: i64| json!({ "port": number, "protocol": "TCP" });
    let live = apply(
        "one",
        Kind::Service,
        None,
        &service(&json!([port(1), port(2)])),
    );
    let live = apply(
        "two",
        Kind::Service,
        Some(&live),
        &service(&json!([port(2)])),
    );
    let live = apply("one", Kind::Service, Some(&live), &service(&json!([])));
    assert_eq!(ports(&live), [2]);
    let live = apply("two", Kind::Service, Some(&live), &service(&json!([])));
    assert!(live["spec"]["ports"].as_array().is_none_or(Vec::is_empty));
}

#[test]
fn the_first_apply_shares_the_fields_that_had_no_managers() {
    let old = config_map(&json!({ "a": "1", "b": "1" }));
    let live = apply(
        "one",
        Kind::ConfigMap,
        Some(&old),
        &config_map(&json!({ "a": "1" })),
    );
    assert_eq!(
        managers(&live),
        [
            ("one".to_owned(), json!({ "f:data": { "f:a": {} } })),
            (
                BEFORE.to_owned(),
                json!({ "f:data": { ".": {}, "f:a": {}, "f:b": {} } })
            ),
        ]
    );

    // An update of such an object begins no managers.
    let mut new = old.clone();
    new["data"]["a"] = "2".into();
    origin("edit", Kind::ConfigMap).update(Some(&old), &mut new);
    assert_eq!(managers(&new), []);
}

#[test]
fn the_oldest_updaters_become_one_entry() {
    let mut live = config_map(&json!({}));
    origin("m000", Kind::ConfigMap).update(None, &mut live);
    for number in 1..100 {
        let old = live.clone();
        live["data"][format!("k{number:03}")] = "1".into();
        origin(&format!("m{number:03}"), Kind::ConfigMap).update(Some(&old), &mut live);
    }
    let managers = managers(&live);
    assert_eq!(managers.len(), 10);
    let ancient = managers.iter().find(|(name, _)| name == "ancient-changes");
    let fields = ancient.unwrap().1["f:data"].as_object().unwrap();
    assert_eq!(fields.len(), 99 - 9 + 1);
}

#[test]
fn a_client_that_sends_damaged_managers_changes_none() {
    let mut live = config_map(&json!({ "a": "1" }));
    origin("one", Kind::ConfigMap).update(None, &mut live);
    let known = managers(&live);
    for sent in [
        json!([{ "manager": "x" }]),
        json!([{ "manager": "x", "operation": "Steal", "apiVersion": "v1" }]),
        json!([{
            "manager": "x",
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": { "x": {} },
        }]),
        json!("text"),
        Value::Null,
    ] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = sent.clone();
        origin("two", Kind::ConfigMap).update(Some(&live), &mut new);
        assert_eq!(managers(&new), known, "{sent}");
    }

    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    origin("two", Kind::ConfigMap).update(Some(&live), &mut new);
    assert_eq!(managers(&new), [], "an empty entry resets them");
}

#[test]
fn a_status_has_managers_of_its_own() {
    let mut live = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "web" },
        "spec": { "ingressClassName": "a" },
        "status": { "loadBalancer": {} },
    });
    origin("one", Kind::Ingress).update(None, &mut live);

    let mut new = live.clone();
    new["spec"]["ingressClassName"] = "b".into();
    new["status"]["loadBalancer"]["ingress"] = json!([{ "ip": "192.0.2.1" }]);
    let status = Origin {
        subresource: Some("status"),
        ..origin("two", Kind::Ingress)
    };
    status.update(Some(&live), &mut new);
    assert_eq!(
        managers(&new),
        [
            (
                "one".to_owned(),
                json!({ "f:spec": { "f:ingressClassName": {} } })
            ),
            (
                "two".to_owned(),
                json!({ "f:status": { "f:loadBalancer": { "f:ingress": {} } } })
            ),
        ]
    );
    assert_eq!(new["metadata"]["managedFields"][1]["subresource"], "status");
}

#[test]
fn an_applied_object_has_to_fit_the_schema() {
    let check = |object: Value| {
        let resource = registry::of(Kind::Service);
        check(resource, &object).map_err(|misfit| misfit.to_string())
    };
    assert_eq!(
        check(service(&json!([{ "port": 80, "targetPort": "a" }]))),
        Ok(())
    );
    assert_eq!(check(service(&Value::Null)), Ok(()));
    for (ports, expected) in [
        (
            json!([{ "prt": 80 }]),
            "[protocol=\"TCP\"].prt: field not declared in schema",
        ),
        (
            json!([null]),
            ": element 0: associative list with keys may not have a null element",
        ),
        (
            json!([80]),
            ": element 0: associative list with keys may not have non-map elements",
        ),
        (
            json!([{ "port": 80, "name": [1, "a"] }]),
            "[port=80,protocol=\"TCP\"].name: expected string, got \
             &value.valueUnstructured{Value:[]interface {}{1, \"a\"}}",
        ),
        (
            json!([{ "port": true }]),
            "[port=true,protocol=\"TCP\"].port: expected numeric (int or float), got bool",
        ),
        (
            json!([{ "port": 80 }, { "port": 80 }]),
            ": duplicate entries for key [port=80,protocol=\"TCP\"]",
        ),
        (
            json!({ "a": [1, null] }),
            ": expected list, got &{map[a:[1 <nil>]]}",
        ),
    ] {
        assert_eq!(
            check(service(&ports)),
            Err(format!(".spec.ports{expected}"))
        );
    }
    let mut two = service(&json!({}));
    two["metadata"]["labels"] = json!({ "a": 1 });
    assert!(
        check(two)
            .unwrap_err()
            .starts_with("errors:\n  .metadata.labels.a: ")
    );
}

#[test]
fn managers_cost_less_than_the_object_that_they_describe() {
    let path = |path: &str| {
        let service = json!({ "name": "web", "port": { "number": 80 } });
        json!({ "path": path, "pathType": "Prefix", "backend": { "service": service } })
    };
    let mut ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "web", "namespace": "default", "labels": { "app": "web" } },
        "spec": {
            "ingressClassName": "gatelet",
            "rules": [{ "host": "web.example.com", "http": { "paths": [path("/"), path("/a")] } }],
            "tls": [{ "hosts": ["web.example.com"], "secretName": "web" }],
        },
    });
    let before = ingress.to_string().len();
    origin("kubectl-client-side-apply", Kind::Ingress).update(None, &mut ingress);
    let cost = ingress.to_string().len() - before;
    assert!(cost < 384 && cost < before, "{cost} of {before}");
}
