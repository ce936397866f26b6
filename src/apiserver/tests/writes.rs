//! Creating, replacing and patching objects.

use super::*;

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let server = Server::new();
    let made = server.post(INGRESSES, &ingress("web")).await;
    assert_eq!(made.code, StatusCode::CREATED);
    assert_eq!(
        made.body["spec"]["ingressClassName"], "gatelet",
        "the default class is set"
    );
    assert_eq!(made.body["metadata"]["generation"], 1);

    let uri = format!("{INGRESSES}/web");
    assert_eq!(server.get(&uri).await.body, made.body);

    let again = server.post(INGRESSES, &ingress("web")).await;
    assert_eq!(
        (again.code, &again.body["reason"]),
        (StatusCode::CONFLICT, &json!("AlreadyExists"))
    );
    assert_eq!(
        again.body["message"],
        r#"ingresses.networking.k8s.io "web" already exists"#
    );

    let labelled = server
        .merge(&uri, &json!({ "metadata": { "labels": { "a": "b" } } }))
        .await;
    assert_eq!(
        labelled.body["metadata"]["generation"], 1,
        "a label is not content"
    );

    let changed = server
        .merge(
            &uri,
            &json!({ "spec": { "rules": null, "defaultBackend": {
        "service": { "name": "x", "port": { "number": 1 } } } } }),
        )
        .await;
    assert_eq!(changed.body["metadata"]["generation"], 2);

    let same = server.put(&uri, &changed.body).await;
    assert_eq!(
        version(&same.body),
        version(&changed.body),
        "a write that changes nothing keeps the revision"
    );

    let stale = server.put(&uri, &made.body).await;
    assert_eq!(
        (stale.code, &stale.body["reason"]),
        (StatusCode::CONFLICT, &json!("Conflict"))
    );

    let gone = server.delete(&uri).await;
    assert_eq!(
        (gone.code, &gone.body["status"]),
        (StatusCode::OK, &json!("Success"))
    );
    assert_eq!(gone.body["details"]["uid"], made.body["metadata"]["uid"]);

    let missing = server.delete(&uri).await;
    assert_eq!(
        (missing.code, &missing.body["reason"]),
        (StatusCode::NOT_FOUND, &json!("NotFound"))
    );
}

#[tokio::test]
async fn status_changes_only_through_its_subresource() {
    let server = Server::new();
    server.post(INGRESSES, &ingress("web")).await;
    let uri = format!("{INGRESSES}/web");
    let status = json!({
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } },
        "spec": null,
        "metadata": { "labels": { "c": "d" } },
    });
    let ignored = server
        .merge(&uri, &json!({ "status": status["status"] }))
        .await;
    assert!(
        ignored
            .body
            .pointer("/status/loadBalancer/ingress")
            .is_none()
    );

    let set = server.merge(&format!("{uri}/status"), &status).await;
    assert_eq!(
        set.body.pointer("/status/loadBalancer/ingress/0/ip"),
        Some(&json!("192.0.2.9"))
    );
    assert_eq!(
        set.body["spec"]["ingressClassName"], "gatelet",
        "the status path leaves the spec alone"
    );
    assert_eq!(set.body["metadata"]["generation"], 1);
    assert_eq!(set.body["metadata"]["labels"], json!({ "c": "d" }));

    let service = json!({ "metadata": { "name": "a" }, "spec": { "ports": [{ "port": 80 }] } });
    server
        .post("/api/v1/namespaces/default/services", &service)
        .await;
    let refused = server
        .merge("/api/v1/namespaces/default/services/a/status", &status)
        .await;
    assert_eq!(
        refused.body["details"]["causes"][0]["message"],
        "Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    );

    let unlabelled = server
        .merge(&uri, &json!({ "metadata": { "labels": { "a": "b" } } }))
        .await;
    assert_eq!(unlabelled.body["status"], set.body["status"]);
}

#[tokio::test]
async fn a_dry_run_responds_but_writes_nothing() {
    let server = Server::new();
    let made = server
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("a"))
        .await;
    assert_eq!(made.code, StatusCode::CREATED);
    assert!(made.body["metadata"]["uid"].is_string());
    assert!(made.body["metadata"].get("resourceVersion").is_none());
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}/a")).await.code,
        StatusCode::NOT_FOUND
    );

    server.post(CONFIG_MAPS, &config_map("a")).await;
    server
        .send("DELETE", &format!("{CONFIG_MAPS}/a?dryRun=All"), &[], "")
        .await;
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}/a")).await.code,
        StatusCode::OK
    );
    assert_eq!(
        server
            .post(&format!("{CONFIG_MAPS}?dryRun=Some"), &config_map("b"))
            .await
            .code,
        422
    );
}

#[tokio::test]
async fn names_are_generated_and_must_match_the_path() {
    let server = Server::new();
    let mut object = config_map("");
    object["metadata"] = json!({ "generateName": "web-" });
    let made = server.post(CONFIG_MAPS, &object).await;
    let name = made.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");

    object["metadata"] = json!({ "name": "a", "namespace": "other" });
    assert_eq!(
        server.post(CONFIG_MAPS, &object).await.code,
        StatusCode::BAD_REQUEST
    );

    server.post(CONFIG_MAPS, &config_map("b")).await;
    let renamed = server
        .put(&format!("{CONFIG_MAPS}/b"), &config_map("c"))
        .await;
    assert_eq!(
        renamed.body["message"],
        "the name of the object (c) does not match the name on the URL (b)"
    );
}

#[tokio::test]
async fn a_replaced_service_keeps_its_address() {
    let server = Server::new();
    let services = "/api/v1/namespaces/default/services";
    let mut object = json!({
        "metadata": { "name": "s" },
        "spec": { "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] },
    });
    assert_eq!(
        server.post(services, &object).await.code,
        StatusCode::CREATED
    );
    object["spec"] = json!({ "ports": [{ "port": 81 }] });
    let replaced = server.put(&format!("{services}/s"), &object).await;
    assert_eq!(replaced.code, StatusCode::OK, "{}", replaced.body);
    assert_eq!(replaced.body["spec"]["clusterIP"], "10.43.0.7");
    assert_eq!(replaced.body["spec"]["ports"][0]["port"], 81);
}

#[tokio::test]
async fn an_apply_is_refused_with_the_errors_of_a_real_server() {
    let server = Server::new();
    let apply = async |query: &str, body: &str| {
        let uri = format!("{CONFIG_MAPS}/a?{query}");
        let form = [("content-type", "application/apply-patch+yaml")];
        server.send("PATCH", &uri, &form, body).await
    };
    let named = "fieldManager=one";
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}";

    let made = apply(named, object).await;
    assert_eq!(made.code, StatusCode::CREATED);
    let again = apply(named, object).await;
    assert_eq!(again.code, StatusCode::OK);
    assert_eq!(again.body, made.body, "nothing changes");

    for (query, body, expected) in [
        (
            "",
            object,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: \
             is required for apply patch",
        ),
        (named, "{}", "invalid object type: /, Kind="),
        (
            named,
            "{apiVersion: v1, kind: Secret}",
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            named,
            "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: []}}",
            "metadata.managedFields must be nil",
        ),
        (
            named,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "fieldManager=two",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: w}}",
            "Apply failed with 1 conflict: conflict with \"one\": .data.k",
        ),
    ] {
        let refused = apply(query, body).await;
        assert_eq!(refused.body["message"], expected, "{body}");
    }
    let long = format!("fieldManager={}", "x".repeat(129));
    assert_eq!(apply(&long, object).await.code, 422);
    let forced = format!("{CONFIG_MAPS}/a?force=true");
    assert_eq!(server.merge(&forced, &json!({})).await.code, 422);
}

#[tokio::test]
async fn an_object_with_its_managers_has_a_limit() {
    let server = Server::new();
    let uri = |manager: usize| format!("{CONFIG_MAPS}/a?fieldManager=m{manager}&force=true");
    let data: serde_json::Map<String, Value> = (0..5000)
        .map(|number| (format!("a-long-name-of-a-key-{number:050}"), "".into()))
        .collect();
    let mut object = config_map("a");
    object["data"] = data.into();

    // Each applier owns all keys.
    let form = [("content-type", "application/apply-patch+yaml")];
    let mut last = StatusCode::OK;
    for manager in 0..6 {
        let applied = server
            .send("PATCH", &uri(manager), &form, &object.to_string())
            .await;
        last = applied.code;
    }
    assert_eq!(last, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_lease_is_held_by_the_client_that_saw_its_last_version() {
    let server = Server::new();
    let uri = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/leader";
    let lease = |holder: &str, version: &str| {
        json!({
            "metadata": { "name": "leader", "resourceVersion": version },
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "renewTime": "2026-01-02T03:04:05.000006Z",
            },
        })
    };
    let made = server.put(uri, &lease("a", "")).await;
    assert_eq!(made.code, StatusCode::CREATED);
    assert_eq!(
        made.body["spec"]["renewTime"],
        "2026-01-02T03:04:05.000006Z"
    );

    let renewed = server.put(uri, &lease("a", version(&made.body))).await;
    assert_eq!(renewed.body, made.body);
    let taken = server.put(uri, &lease("b", version(&renewed.body))).await;
    assert_eq!(taken.code, StatusCode::OK);
    let late = server.put(uri, &lease("a", version(&made.body))).await;
    assert_eq!(late.code, StatusCode::CONFLICT);

    let blind = server.put(uri, &lease("a", "")).await;
    assert_eq!(
        blind.body["message"],
        "leases.coordination.k8s.io \"leader\" is invalid: metadata.resourceVersion: \
         Invalid value: 0x0: must be specified for an update"
    );
    let mut none = lease("b", "");
    none["spec"]["leaseDurationSeconds"] = 0.into();
    none["metadata"]["name"] = "other".into();
    let refused = server.put(&uri.replace("leader", "other"), &none).await;
    assert_eq!(
        refused.body["message"],
        "Lease.coordination.k8s.io \"other\" is invalid: spec.leaseDurationSeconds: \
         Invalid value: 0: must be greater than 0"
    );
}

#[tokio::test]
async fn a_replacement_creates_missing_endpoints() {
    let server = Server::new();
    let uri = format!("{ENDPOINTS}/e");
    let object = |metadata: Value| json!({ "metadata": metadata });
    let nameless = server.put(&uri, &object(json!({}))).await;
    assert_eq!(
        (nameless.code, &nameless.body["message"]),
        (
            StatusCode::BAD_REQUEST,
            &json!(
                "the name of the object (e based on URL) was undeterminable: name must be provided"
            )
        )
    );
    assert_eq!(
        server
            .put(&uri, &object(json!({ "name": "e", "uid": "x" })))
            .await
            .code,
        StatusCode::CONFLICT
    );

    let made = server
        .put(
            &uri,
            &object(json!({ "name": "e", "resourceVersion": "1" })),
        )
        .await;
    assert_eq!(
        (made.code, server.get(&uri).await.code),
        (StatusCode::CREATED, StatusCode::OK)
    );
    assert_eq!(server.put(&uri, &made.body).await.code, StatusCode::OK);

    // A PUT does not create objects of other kinds.
    assert_eq!(
        server
            .put(&format!("{CONFIG_MAPS}/c"), &config_map("c"))
            .await
            .code,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn field_validation_is_as_strict_as_requested() {
    let server = Server::new();
    let mut object = ingress("web");
    object["spec"]["rulez"] = json!([]);
    let strict = server
        .post(&format!("{INGRESSES}?fieldValidation=Strict"), &object)
        .await;
    assert_eq!(
        strict.body["message"],
        "Ingress in version \"v1\" cannot be handled as a Ingress: \
         strict decoding error: unknown field \"spec.rulez\""
    );

    let silent = server
        .post(
            &format!("{INGRESSES}?fieldValidation=Ignore&dryRun=All"),
            &object,
        )
        .await;
    assert!(silent.code == StatusCode::CREATED && silent.warnings.is_empty());

    let warned = server.post(INGRESSES, &object).await;
    assert_eq!(warned.warnings, [r#"299 - "unknown field \"spec.rulez\"""#]);
    assert!(warned.body["spec"].get("rulez").is_none());

    let uri = format!("{INGRESSES}/web?fieldValidation=Strict");
    let patched = server.merge(&uri, &json!({ "spec": { "rulez": 1 } })).await;
    assert_eq!(
        (patched.code, &patched.body["reason"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid"))
    );
}

#[tokio::test]
async fn an_invalid_object_is_refused_with_its_causes() {
    let server = Server::new();
    let mut object = ingress("web");
    object["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "Regex".into();
    let refused = server.post(INGRESSES, &object).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);

    let supported = r#""Exact", "ImplementationSpecific", "Prefix""#;
    let why = format!("Unsupported value: \"Regex\": supported values: {supported}");
    let field = "spec.rules[0].http.paths[0].pathType";
    assert_eq!(
        refused.body,
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": format!("Ingress.networking.k8s.io \"web\" is invalid: {field}: {why}"),
            "reason": "Invalid",
            "details": {
                "name": "web",
                "group": "networking.k8s.io",
                "kind": "Ingress",
                "causes": [{ "reason": "FieldValueNotSupported", "message": why, "field": field }],
            },
            "code": 422,
        })
    );
}
