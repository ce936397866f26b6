use serde_json::json;

use super::*;

fn patched(kind: Kind, mut target: Value, patch: &Value) -> Value {
    strategic(kind, &mut target, patch).unwrap();
    target
}

#[test]
fn lists_with_a_merge_key_are_merged_by_it() {
    let service =
        json!({ "spec": { "ports": [{ "port": 80, "name": "a" }, { "port": 443, "name": "b" }] } });
    let patch = json!({ "spec": {
        "$setElementOrder/ports": [{ "port": 8080 }, { "port": 80 }],
        "ports": [
            { "port": 443, "$patch": "delete" },
            { "port": 80, "name": "c" },
            { "port": 8080 },
        ],
    } });
    let expected = json!({ "spec": { "ports": [{ "port": 8080 }, { "port": 80, "name": "c" }] } });
    assert_eq!(patched(Kind::Service, service.clone(), &patch), expected);

    let replace = json!({ "spec": { "ports": [{ "$patch": "replace" }, { "port": 1 }] } });
    assert_eq!(
        patched(Kind::Service, service, &replace),
        json!({ "spec": { "ports": [{ "port": 1 }] } })
    );

    let error = strategic(
        Kind::Service,
        &mut json!({}),
        &json!({ "spec": { "ports": [{ "name": "x" }] } }),
    );
    assert!(matches!(error, Err(PatchError::Malformed(_))));
}

#[test]
fn merged_lists_have_the_order_of_a_real_server() {
    let ports = |ports: &[i32]| {
        ports
            .iter()
            .map(|port| json!({ "port": port }))
            .collect::<Value>()
    };
    let service = json!({ "spec": { "ports": ports(&[1, 2, 3]) } });
    let patch = json!({ "spec": { "ports": ports(&[9]) } });
    assert_eq!(
        patched(Kind::Service, service.clone(), &patch)["spec"]["ports"],
        ports(&[9, 1, 2, 3])
    );

    let order =
        json!({ "spec": { "$setElementOrder/ports": ports(&[9, 3, 1]), "ports": ports(&[9]) } });
    assert_eq!(
        patched(Kind::Service, service.clone(), &order)["spec"]["ports"],
        ports(&[9, 2, 3, 1])
    );

    let order = json!({ "spec": { "$setElementOrder/ports": ports(&[3, 1]) } });
    assert_eq!(
        patched(Kind::Service, service, &order)["spec"]["ports"],
        ports(&[2, 3, 1])
    );
}

#[test]
fn atomic_lists_are_replaced() {
    let ingress = json!({ "spec": {
        "rules": [{ "host": "a" }, { "host": "b" }],
        "tls": [{ "secretName": "s" }],
    } });
    let patch = json!({ "spec": { "rules": [{ "host": "c" }], "tls": null } });
    assert_eq!(
        patched(Kind::Ingress, ingress, &patch),
        json!({ "spec": { "rules": [{ "host": "c" }] } })
    );
}

#[test]
fn maps_and_primitive_lists_are_merged_by_directives() {
    let target =
        json!({ "metadata": { "labels": { "a": "1", "b": "2" }, "finalizers": ["x/a", "x/b"] } });
    let patch = json!({ "metadata": {
        "labels": { "a": null, "c": "3" },
        "finalizers": ["x/c"],
        "$deleteFromPrimitiveList/finalizers": ["x/a"],
    } });
    let expected =
        json!({ "metadata": { "labels": { "b": "2", "c": "3" }, "finalizers": ["x/c", "x/b"] } });
    assert_eq!(patched(Kind::ConfigMap, target.clone(), &patch), expected);

    let replaced = patched(
        Kind::ConfigMap,
        target.clone(),
        &json!({ "metadata": { "$patch": "replace", "name": "n" } }),
    );
    assert_eq!(replaced, json!({ "metadata": { "name": "n" } }));

    let retained = patched(
        Kind::ConfigMap,
        target,
        &json!({ "metadata": { "$retainKeys": ["name"], "name": "n" } }),
    );
    assert_eq!(retained, json!({ "metadata": { "name": "n" } }));
}

#[test]
fn a_failed_json_patch_changes_nothing() {
    let mut target = json!({ "metadata": {} });
    let first = json!([
        { "op": "test", "path": "/metadata/finalizers", "value": null },
        { "op": "add", "path": "/metadata/finalizers", "value": ["a/b"] },
    ]);
    json_patch(&mut target, &first).unwrap();
    assert_eq!(target, json!({ "metadata": { "finalizers": ["a/b"] } }));

    let second =
        json!([{ "op": "add", "path": "/x", "value": 1 }, { "op": "remove", "path": "/y" }]);
    assert!(matches!(
        json_patch(&mut target, &second),
        Err(PatchError::Failed(_))
    ));
    assert_eq!(target, json!({ "metadata": { "finalizers": ["a/b"] } }));
    assert!(matches!(
        json_patch(&mut target, &first),
        Err(PatchError::Failed(_))
    ));
    assert!(matches!(
        json_patch(&mut target, &json!({})),
        Err(PatchError::Malformed(_))
    ));
}

#[test]
fn malformed_patches_are_refused() {
    for patch in [
        json!([]),
        json!("x"),
        json!({ "metadata": { "$patch": "odd" } }),
    ] {
        assert!(
            strategic(Kind::Secret, &mut json!({}), &patch).is_err(),
            "{patch}"
        );
    }
    assert!(merge_patch(&mut json!({}), &json!([])).is_err());
}
