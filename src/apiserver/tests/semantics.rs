//! The verbs, as clients see them.

use super::*;
use crate::util::time::UnixSeconds;

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
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
async fn status_is_changed_by_its_own_path_only() {
    let server = Server::new();
    server.post(INGRESSES, &ingress("web")).await;
    let uri = format!("{INGRESSES}/web");
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } }, "spec": null });
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
    let unlabelled = server
        .merge(&uri, &json!({ "metadata": { "labels": { "a": "b" } } }))
        .await;
    assert_eq!(unlabelled.body["status"], set.body["status"]);
}

#[tokio::test]
async fn a_dry_run_answers_and_writes_nothing() {
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
async fn names_are_generated_and_must_agree_with_the_path() {
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
async fn a_finalizer_holds_an_object_back_until_it_is_removed() {
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
        r#"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.b/d"}"#
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
async fn preconditions_of_a_deletion_are_kept() {
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
async fn a_deletion_is_read_in_every_form() {
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
async fn a_deletion_that_cannot_be_read_deletes_nothing() {
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
    // `dryRun: [All]`, beside the query, and in the query beside a body.
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
async fn what_waits_for_its_finalizers_is_202_where_the_client_asks_for_it() {
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
async fn namespaces_end_with_their_contents_and_some_never() {
    let server = Server::new();
    let keeper = server.api.clone();
    let keeper = tokio::spawn(async move { keeper.finish_namespaces().await });
    for name in ["default", "kube-system"] {
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
    keeper.abort();
}

#[tokio::test]
async fn lists_come_in_pages_and_selections() {
    let server = Server::new();
    for name in ["a", "b", "c"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({ "name": name });
        server.post(CONFIG_MAPS, &object).await;
    }
    let names = |response: &TestResponse| -> Vec<String> {
        let items = response.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 1);
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let second = server
        .get(&format!("{CONFIG_MAPS}?limit=2&continue={token}"))
        .await;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(version(&second.body), version(&first.body));
    assert!(second.body["metadata"].get("continue").is_none());
    let selected = server
        .get(&format!(
            "{CONFIG_MAPS}?labelSelector=name%20in%20(a,c)&fieldSelector=metadata.name!=a"
        ))
        .await;
    assert_eq!(names(&selected), ["c"]);
    assert_eq!(
        server
            .get(&format!("{CONFIG_MAPS}?continue=xyz"))
            .await
            .code,
        StatusCode::BAD_REQUEST
    );
    let future = server
        .get(&format!("{CONFIG_MAPS}?resourceVersion=999999"))
        .await;
    assert_eq!(future.code, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_watch_goes_on_where_a_list_ended() {
    let server = Server::new();
    server.post(CONFIG_MAPS, &config_map("old")).await;
    let listed = server.get(CONFIG_MAPS).await;
    let mut watch = server
        .watch(&format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion={}",
            version(&listed.body)
        ))
        .await;
    server.post(INGRESSES, &ingress("other-kind")).await;
    let made = server.post(CONFIG_MAPS, &config_map("new")).await;
    assert_eq!(watch.next().await.unwrap(), ("ADDED".to_owned(), made.body));
    server.delete(&format!("{CONFIG_MAPS}/new")).await;
    let (kind, object) = watch.next().await.unwrap();
    assert_eq!(kind, "DELETED");
    assert!(version(&object).parse::<u64>().unwrap() > version(&listed.body).parse().unwrap());
}

#[tokio::test]
async fn a_watch_with_a_selector_sees_objects_come_and_go() {
    let server = Server::new();
    let mut watch = server
        .watch(&format!("{CONFIG_MAPS}?watch=true&labelSelector=a"))
        .await;
    server.post(CONFIG_MAPS, &config_map("x")).await;
    let uri = format!("{CONFIG_MAPS}/x");
    for (label, kind) in [
        (json!("1"), "ADDED"),
        (json!("2"), "MODIFIED"),
        (Value::Null, "DELETED"),
    ] {
        let patched = server
            .merge(&uri, &json!({ "metadata": { "labels": { "a": label } } }))
            .await;
        let (seen, object) = watch.next().await.unwrap();
        assert_eq!(seen, kind);
        assert_eq!(version(&object), version(&patched.body));
    }
}

#[tokio::test]
async fn a_watch_list_marks_the_end_of_what_was_there() {
    let server = Server::new();
    server.post(CONFIG_MAPS, &config_map("a")).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.next().await.unwrap().0, "ADDED");
    let (kind, mark) = watch.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(
        mark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let refused = server
        .get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true"))
        .await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_watch_ends_in_time_and_there_are_only_so_many() {
    let server = Server::new();
    let mut ends = server
        .watch(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1"))
        .await;
    assert!(ends.next().await.is_none());
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(server.watch(&format!("{CONFIG_MAPS}?watch=true")).await);
    }
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}?watch=true")).await.code,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn tables_have_the_columns_of_the_real_server() {
    let server = Server::new();
    let mut object = ingress("web");
    object["spec"]["tls"] = json!([{ "hosts": ["a.example"] }]);
    server.post(INGRESSES, &object).await;
    let accept = (
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    );
    let table = server.send("GET", INGRESSES, &[accept], "").await.body;
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        columns,
        ["Name", "Class", "Hosts", "Address", "Ports", "Age"]
    );
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..5],
        ["web", "gatelet", "a.example", "", "80, 443"]
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn events_are_kept_for_a_while_after_they_were_last_seen() {
    let server = Server::new();
    let events = "/api/v1/namespaces/default/events";
    let now = jiff::Timestamp::now();
    for (name, seen) in [("old", now), ("new", now + Duration::from_secs(100))] {
        let about = json!({ "kind": "Ingress", "name": "web", "namespace": "default" });
        let event = json!({ "metadata": { "name": name }, "involvedObject": about, "lastTimestamp": seen.to_string() });
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

#[tokio::test]
async fn both_views_of_events_are_one_store() {
    let server = Server::new();
    let event = json!({
        "metadata": { "name": "e" },
        "regarding": { "kind": "Ingress", "name": "web", "namespace": "default" },
        "note": "hello",
        "reason": "Why",
        "type": "Normal",
        "reportingController": "x",
    });
    let made = server
        .post("/apis/events.k8s.io/v1/namespaces/default/events", &event)
        .await;
    assert_eq!(
        (&made.body["note"], &made.body["apiVersion"]),
        (&json!("hello"), &json!("events.k8s.io/v1"))
    );
    let core = server.get("/api/v1/namespaces/default/events/e").await.body;
    assert_eq!(
        (&core["message"], &core["apiVersion"]),
        (&json!("hello"), &json!("v1"))
    );
    let found = server
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dweb")
        .await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_said_as_the_real_server_says_it() {
    let server = Server::new();
    assert_eq!(
        server.get("/apis/unknown/v1/x").await.body,
        "404 page not found\n"
    );
    assert_eq!(
        server.get("/api/v1/podtemplates").await.body["message"],
        "the server could not find the requested resource"
    );
    assert_eq!(
        server.put(CONFIG_MAPS, &config_map("a")).await.code,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        server.post("/api/v1/nodes", &json!({})).await.code,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let apply = ("content-type", "application/apply-patch+yaml");
    let uri = format!("{CONFIG_MAPS}/a?fieldManager=x");
    assert_eq!(
        server.send("PATCH", &uri, &[apply], "{}").await.code,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let xml = ("content-type", "application/xml");
    assert_eq!(
        server.send("POST", CONFIG_MAPS, &[xml], "<a/>").await.code,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let wrong = server.post(INGRESSES, &config_map("a")).await;
    assert_eq!(wrong.code, StatusCode::BAD_REQUEST);
    for broken in ["", "[]", "nonsense", "{\"metadata\":3}"] {
        let response = server.send("POST", CONFIG_MAPS, &[], broken).await;
        assert_eq!(
            response.code,
            StatusCode::BAD_REQUEST,
            "{broken}: {}",
            response.body
        );
    }
    assert_eq!(
        server.send("POST", CONFIG_MAPS, &[], "null").await.code,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert!(
        server
            .post(CONFIG_MAPS, &config_map("fine"))
            .await
            .warnings
            .is_empty()
    );
}

#[tokio::test]
async fn discovery_names_every_kind_in_both_forms() {
    let server = Server::new();
    let accept = (
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    );
    let response = server.respond("GET", "/apis", &[accept], "").await;
    assert_eq!(
        response.headers()["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let groups = server.get("/apis").await.body;
    let mut kinds = Vec::new();
    for group in groups["groups"].as_array().unwrap() {
        let path = format!(
            "/apis/{}",
            group["preferredVersion"]["groupVersion"].as_str().unwrap()
        );
        let list = server.get(&path).await.body;
        kinds.extend(
            list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["name"].as_str().unwrap().to_owned()),
        );
    }
    for kind in [
        "ingresses",
        "ingresses/status",
        "ingressclasses",
        "endpointslices",
        "events",
    ] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}");
    }
    assert_eq!(server.get("/version").await.body["minor"], "36");
    assert_eq!(server.get("/readyz").await.body, "ok");
}

#[tokio::test]
async fn a_replaced_service_keeps_its_address() {
    let server = Server::new();
    let services = "/api/v1/namespaces/default/services";
    let mut object = json!({ "metadata": { "name": "s" }, "spec": { "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] } });
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
async fn endpoints_are_made_from_slices_for_describe_of_an_old_kubectl() {
    let server = Server::new();
    let services = "/api/v1/namespaces/default/services";
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    server.post(services, &service).await;
    let slice = json!({
        "metadata": { "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["192.0.2.1"] }, { "addresses": ["192.0.2.2"], "conditions": { "ready": false } }],
        "ports": [{ "port": 8080 }],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    assert_eq!(server.post(slices, &slice).await.code, StatusCode::CREATED);
    let uri = format!("{ENDPOINTS}/s");
    let describe = [
        ("user-agent", "kubectl/v1.29.15 (linux/amd64)"),
        ("accept", "application/json, */*"),
    ];
    let found = server.send("GET", &uri, &describe, "").await.body;
    assert_eq!(
        found["subsets"][0]["addresses"],
        json!([{ "ip": "192.0.2.1" }])
    );
    assert_eq!(
        found["subsets"][0]["notReadyAddresses"],
        json!([{ "ip": "192.0.2.2" }])
    );

    // `kubectl apply` and every other client must learn that there is no such object.
    let apply = [describe[0], ("accept", "application/json")];
    let other = [("user-agent", "controller/v1"), describe[1]];
    for headers in [&apply[..], &other[..], &[]] {
        assert_eq!(
            server.send("GET", &uri, headers, "").await.code,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(
        server
            .send("GET", &format!("{ENDPOINTS}/x"), &describe, "")
            .await
            .code,
        StatusCode::NOT_FOUND
    );
}

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";

#[tokio::test]
async fn every_answer_about_endpoints_warns_that_they_are_deprecated() {
    let server = Server::new();
    let warning =
        r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    let address = json!({ "ip": "2001:DB8::1" });
    let object = json!({ "metadata": { "name": "e" }, "subsets": [{ "addresses": [address], "ports": [{ "port": 80 }] }] });
    let made = server.post(ENDPOINTS, &object).await;
    let form = r#"subsets[0].addresses[0].ip: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format"#;
    let canonical = format!(r#"299 - "{form} (\"2001:db8::1\")""#);
    assert_eq!(
        (made.code, &*made.warnings),
        (StatusCode::CREATED, &[warning.to_owned(), canonical][..])
    );
    assert_eq!(
        made.body["subsets"][0]["ports"],
        json!([{ "port": 80, "protocol": "TCP" }])
    );
    assert!(made.body["metadata"].get("generation").is_none());
    for uri in [
        format!("{ENDPOINTS}/e"),
        ENDPOINTS.to_owned(),
        format!("{ENDPOINTS}/missing"),
    ] {
        assert_eq!(server.get(&uri).await.warnings, [warning]);
    }
    assert_eq!(
        server.delete(&format!("{ENDPOINTS}/e")).await.warnings,
        [warning]
    );
}

#[tokio::test]
async fn a_replacement_makes_endpoints_that_are_not_there() {
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

    // Other kinds are not made by it.
    assert_eq!(
        server
            .put(&format!("{CONFIG_MAPS}/c"), &config_map("c"))
            .await
            .code,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn strictness_is_as_the_client_asks() {
    let server = Server::new();
    let mut object = ingress("web");
    object["spec"]["rulez"] = json!([]);
    let strict = server
        .post(&format!("{INGRESSES}?fieldValidation=Strict"), &object)
        .await;
    assert_eq!(
        strict.body["message"],
        "Ingress in version \"v1\" cannot be handled as a Ingress: strict decoding error: unknown field \"spec.rulez\""
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
async fn an_invalid_object_names_every_cause() {
    let server = Server::new();
    let mut object = ingress("web");
    object["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "Regex".into();
    let refused = server.post(INGRESSES, &object).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
    let why = r#"Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix""#;
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
