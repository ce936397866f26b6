//! Reading objects, lists, tables and discovery, and the errors of requests.

use super::*;

#[tokio::test]
async fn lists_are_paged_and_selected() {
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
async fn tables_have_the_columns_of_a_real_server() {
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
async fn both_views_of_events_share_one_store() {
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
async fn wrong_requests_have_the_errors_of_a_real_server() {
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

    let cbor = ("content-type", "application/apply-patch+cbor");
    let uri = format!("{CONFIG_MAPS}/a?fieldManager=x");
    let refused = server.send("PATCH", &uri, &[cbor], "{}").await;
    assert_eq!(refused.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(refused.body["message"], "415: Unsupported Media Type");

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
async fn discovery_lists_every_kind_in_both_forms() {
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
async fn describe_of_an_old_kubectl_reads_endpoints_from_slices() {
    let server = Server::new();
    let services = "/api/v1/namespaces/default/services";
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    server.post(services, &service).await;
    let slice = json!({
        "metadata": { "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
        "addressType": "IPv4",
        "endpoints": [
            { "addresses": ["192.0.2.1"] },
            { "addresses": ["192.0.2.2"], "conditions": { "ready": false } },
        ],
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

    // To `kubectl apply` and to other clients the object does not exist.
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

#[tokio::test]
async fn every_response_about_endpoints_warns_of_deprecation() {
    let server = Server::new();
    let warning =
        r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    let address = json!({ "ip": "2001:DB8::1" });
    let object = json!({
        "metadata": { "name": "e" },
        "subsets": [{ "addresses": [address], "ports": [{ "port": 80 }] }],
    });
    let made = server.post(ENDPOINTS, &object).await;
    let ip = r#"subsets[0].addresses[0].ip: IPv6 address \"2001:DB8::1\""#;
    let form = r#"should be in RFC 5952 canonical format (\"2001:db8::1\")"#;
    let canonical = format!(r#"299 - "{ip} {form}""#);
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
