//! Deleting objects, and the removal of namespaces and old Events.

use super::*;
use crate::util::time::UnixSeconds;

#[tokio::test]
async fn a_finalizer_delays_the_removal_of_an_object() {
    let server = Server::new();
    let mut object = ingress("web");
    object["metadata"]["finalizers"] = json!(["a.b/c"]);
    server.post(INGRESSES, &object).await;
    let uri = format!("{INGRESSES}/web");
    let marked = server.delete(&uri).await;
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked.body["metadata"]["generation"], 2);

    let more = server
        .merge(
            &uri,
            &json!({ "metadata": { "finalizers": ["a.b/c", "a.b/d"] } }),
        )
        .await;
    assert_eq!(more.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        more.body["details"]["causes"][0]["message"],
        "Forbidden: no new finalizers can be added if the object is being deleted, \
         found new finalizers []string{\"a.b/d\"}"
    );
    assert_eq!(
        server
            .merge(&uri, &json!({ "metadata": { "finalizers": null } }))
            .await
            .code,
        StatusCode::OK
    );
    assert_eq!(server.get(&uri).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_deletion_checks_its_preconditions() {
    let server = Server::new();
    server.post(CONFIG_MAPS, &config_map("a")).await;
    let uri = format!("{CONFIG_MAPS}/a");
    for preconditions in [json!({ "uid": "x" }), json!({ "resourceVersion": "1" })] {
        let body = json!({ "preconditions": preconditions }).to_string();
        let refused = server.send("DELETE", &uri, &[], &body).await;
        assert_eq!(refused.code, StatusCode::CONFLICT);
        let message = refused.body["message"].as_str().unwrap();
        assert!(
            message.starts_with("Operation cannot be fulfilled on ConfigMap \"a\": the "),
            "{message}"
        );
    }
    assert_eq!(server.get(&uri).await.code, StatusCode::OK);
}

#[tokio::test]
async fn delete_options_are_read_in_every_format() {
    let server = Server::new();
    let uri = format!("{CONFIG_MAPS}/a");
    // DeleteOptions with `propagationPolicy: Background`, as client-go sends them.
    let envelope =
        "k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x0c\x22\x0aBackground\x1a\0\x22\0";
    let protobuf = "application/vnd.kubernetes.protobuf";
    for (form, body) in [
        ("", ""),
        ("application/json", ""),
        ("", r#"{"propagationPolicy":"Background"}"#),
        (
            "application/json",
            r#"{"kind":"DeleteOptions","apiVersion":"policy/v1beta1","gracePeriodSeconds":0}"#,
        ),
        ("application/json", "null"),
        ("application/yaml", "kind: DeleteOptions\napiVersion: v1\n"),
        (protobuf, envelope),
        (protobuf, "k8s\0\x0a\0"),
    ] {
        server.post(CONFIG_MAPS, &config_map("a")).await;
        let headers = [("content-type", form)];
        let gone = server
            .send(
                "DELETE",
                &uri,
                if form.is_empty() { &[] } else { &headers },
                body,
            )
            .await;
        assert_eq!(gone.code, StatusCode::OK, "{form} {body}: {}", gone.body);
        assert_eq!(
            server.get(&uri).await.code,
            StatusCode::NOT_FOUND,
            "{form} {body}"
        );
    }

    server.post(CONFIG_MAPS, &config_map("a")).await;
    let all = server
        .send(
            "DELETE",
            CONFIG_MAPS,
            &[("content-type", protobuf)],
            envelope,
        )
        .await;
    assert_eq!(
        (all.code, server.get(&uri).await.code),
        (StatusCode::OK, StatusCode::NOT_FOUND)
    );
}

#[tokio::test]
async fn invalid_delete_options_delete_nothing() {
    let server = Server::new();
    server.post(CONFIG_MAPS, &config_map("a")).await;
    let uri = format!("{CONFIG_MAPS}/a");
    let options = "DeleteOptions.meta.k8s.io \"\" is invalid: ";
    let protobuf = "application/vnd.kubernetes.protobuf";
    for (form, body, code, why) in [
        (
            "text/plain",
            "{}",
            415,
            "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf"
                .to_owned(),
        ),
        (
            protobuf,
            "garbage",
            400,
            "provided data does not appear to be a protobuf message, expected prefix \
         [107 56 115 0]"
                .to_owned(),
        ),
        (
            protobuf,
            "k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap",
            400,
            "no kind \"ConfigMap\" is registered for version \"v1\" \
         in scheme \"gatelet\""
                .to_owned(),
        ),
        // `preconditions.uid: x`
        (
            protobuf,
            "k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x05\x12\x03\x0a\x01x",
            409,
            String::new(),
        ),
        (
            "",
            r#"{"dryRun":"All"}"#,
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type \
         []string"
                .to_owned(),
        ),
        (
            "",
            r#"{"dryRun":["Some"]}"#,
            422,
            format!("{options}dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""),
        ),
        (
            "",
            r#"{"propagationPolicy":"x"}"#,
            422,
            format!(
                "{options}propagationPolicy: Unsupported value: \"x\": supported \
         values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
        ),
        (
            "",
            r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#,
            422,
            format!(
                "{options}propagationPolicy: Invalid \
         value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set"
            ),
        ),
    ] {
        let headers = [("content-type", form)];
        let refused = server
            .send(
                "DELETE",
                &uri,
                if form.is_empty() { &[] } else { &headers },
                body,
            )
            .await;
        assert_eq!(refused.code.as_u16(), code, "{body}: {}", refused.body);
        assert!(
            why.is_empty() || refused.body["message"] == why,
            "{}",
            refused.body
        );
        assert_eq!(server.get(&uri).await.code, StatusCode::OK);
    }

    // `dryRun: [All]` in a body, and the same in a query beside a body.
    let dry = "k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x05\x2a\x03All";
    assert_eq!(
        server
            .send("DELETE", &uri, &[("content-type", protobuf)], dry)
            .await
            .code,
        StatusCode::OK
    );
    assert_eq!(
        server
            .send("DELETE", &format!("{uri}?dryRun=All"), &[], "{}")
            .await
            .code,
        StatusCode::OK
    );
    assert_eq!(server.get(&uri).await.code, StatusCode::OK);
}

#[tokio::test]
async fn a_delayed_deletion_responds_202_if_requested() {
    let server = Server::new();
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["a.b/c"]);
    server.post(CONFIG_MAPS, &object).await;
    let uri = format!("{CONFIG_MAPS}/a");
    let marked = server
        .send("DELETE", &uri, &[], r#"{"orphanDependents":false}"#)
        .await;
    assert_eq!(marked.code, StatusCode::ACCEPTED);
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn a_namespace_is_removed_after_its_contents() {
    let server = Server::new();
    let api = server.api.clone();
    let cleanup = tokio::spawn(async move { api.finish_namespaces().await });
    for name in ["default", "kube-system", "kube-public"] {
        assert_eq!(
            server
                .delete(&format!("/api/v1/namespaces/{name}"))
                .await
                .code,
            StatusCode::FORBIDDEN
        );
    }

    let absent = server
        .post("/api/v1/namespaces/n/configmaps", &config_map("a"))
        .await;
    assert_eq!(absent.body["message"], r#"namespaces "n" not found"#);

    let made = server
        .post(
            "/api/v1/namespaces",
            &json!({ "metadata": { "name": "n" } }),
        )
        .await;
    assert_eq!(
        made.body["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "n"
    );
    assert_eq!(made.body["status"]["phase"], "Active");

    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["a.b/c"]);
    server
        .post("/api/v1/namespaces/n/configmaps", &config_map("a"))
        .await;
    server.post("/api/v1/namespaces/n/configmaps", &held).await;
    let mut changes = server
        .watch("/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3Dn")
        .await;
    assert_eq!(changes.next().await.unwrap().0, "ADDED");

    let going = server.delete("/api/v1/namespaces/n").await;
    assert_eq!(going.body["status"]["phase"], "Terminating");

    let refused = server
        .post("/api/v1/namespaces/n/configmaps", &config_map("b"))
        .await;
    assert_eq!(
        refused.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    assert_eq!(changes.next().await.unwrap().0, "MODIFIED");

    // The conditions name what is left.
    let (kind, reported) = changes.next().await.unwrap();
    assert_eq!(kind, "MODIFIED");
    let conditions = reported["status"]["conditions"].as_array().unwrap();
    let messages = conditions
        .iter()
        .map(|one| one["message"].as_str().unwrap());
    assert_eq!(
        messages.skip(3).collect::<Vec<_>>(),
        [
            "Some resources are remaining: configmaps. has 1 resource instances",
            "Some content in the namespace has finalizers remaining: a.b/c in 1 resource instances",
        ]
    );

    server
        .merge(
            "/api/v1/namespaces/n/configmaps/held",
            &json!({ "metadata": { "finalizers": null } }),
        )
        .await;
    assert_eq!(changes.next().await.unwrap().0, "DELETED");
    assert_eq!(
        server.get("/api/v1/configmaps").await.body["items"],
        json!([])
    );

    cleanup.abort();
}

#[tokio::test]
async fn a_namespace_without_finalizers_is_removed_at_once() {
    let server = Server::new();
    let namespace = json!({ "metadata": { "name": "n" } });
    server.post("/api/v1/namespaces", &namespace).await;
    let uri = "/api/v1/namespaces/n";
    assert_eq!(server.delete("/api/v1/namespaces").await.code, 405);

    let mut marked = server.delete(uri).await.body;
    assert_eq!(marked["spec"]["finalizers"], json!(["kubernetes"]));
    let kept = server.put(uri, &marked).await.body;
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]));

    marked["spec"] = json!({});
    assert_eq!(server.get(&format!("{uri}/finalize")).await.code, 405);
    let done = server.put(&format!("{uri}/finalize"), &marked).await;
    assert_eq!(done.code, StatusCode::OK);
    assert_eq!(server.get(uri).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_are_removed_some_time_after_they_were_last_seen() {
    let server = Server::new();
    let events = "/api/v1/namespaces/default/events";
    let now = jiff::Timestamp::now();
    for (name, seen) in [("old", now), ("new", now + Duration::from_secs(100))] {
        let about = json!({ "kind": "Ingress", "name": "web", "namespace": "default" });
        let event = json!({
            "metadata": { "name": name },
            "involvedObject": about,
            "lastTimestamp": seen.to_string(),
        });
        assert_eq!(server.post(events, &event).await.code, StatusCode::CREATED);
    }

    server
        .api
        .remove_events_before(UnixSeconds(now.as_second() - 10))
        .await;
    assert_eq!(
        server.get(&format!("{events}/old")).await.code,
        StatusCode::OK
    );

    server
        .api
        .remove_events_before(UnixSeconds(now.as_second() + 50))
        .await;
    assert_eq!(
        server.get(&format!("{events}/old")).await.code,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server.get(&format!("{events}/new")).await.code,
        StatusCode::OK
    );
}
