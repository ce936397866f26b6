//! Kinds without objects.

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn a_kind_without_objects_lists_as_empty() {
    let server = Server::new();
    let all = server.get("/apis/apps/v1/deployments?limit=500").await;
    assert_eq!(all.code, StatusCode::OK);
    assert_eq!(all.body["kind"], "DeploymentList");
    assert_eq!(all.body["apiVersion"], "apps/v1");
    assert_eq!(all.body["items"], json!([]));
    assert!(version(&all.body).parse::<u64>().is_ok());

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = server.send("GET", PODS, &table, "").await.body;
    assert_eq!(
        (&table["kind"], &table["rows"]),
        (&"Table".into(), &json!([]))
    );
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = server.send("GET", PODS, &[("accept", partial)], "").await;
    assert_eq!(partial.body["kind"], "PartialObjectMetadataList");
}

#[tokio::test]
async fn creating_a_kind_without_objects_is_refused_with_advice() {
    let server = Server::new();
    let refused = server.post(DEPLOYMENTS, &json!({ "kind": "x" })).await;
    assert_eq!(refused.code, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.body["reason"], "MethodNotAllowed");
    let message = refused.body["message"].as_str().unwrap();
    let begin = "deployments.apps cannot be created: this mini cluster runs no workloads;";
    assert!(message.starts_with(begin), "{message}");
    assert!(message.contains("gatelet expose"), "{message}");

    // Protobuf is not decoded for it, and server-side apply creates too.
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let refused = server.send("POST", PODS, &protobuf, "k8s").await;
    assert_eq!(refused.code, StatusCode::METHOD_NOT_ALLOWED);
    let apply = [("content-type", "application/apply-patch+yaml")];
    let web = format!("{DEPLOYMENTS}/web?fieldManager=a");
    let refused = server.send("PATCH", &web, &apply, "{}").await;
    assert_eq!(refused.body["message"], message);
}

#[tokio::test]
async fn an_object_of_a_kind_without_objects_does_not_exist() {
    let server = Server::new();
    let (web, merge) = (
        format!("{DEPLOYMENTS}/web"),
        [("content-type", "application/merge-patch+json")],
    );
    for (method, uri) in [
        ("GET", web.clone()),
        ("PUT", web.clone()),
        ("PATCH", web.clone()),
        ("DELETE", web.clone()),
        ("GET", format!("{web}/scale")),
        ("PUT", format!("{web}/status")),
    ] {
        let gone = server.send(method, &uri, &merge, "{}").await;
        assert_eq!(gone.code, StatusCode::NOT_FOUND, "{method} {uri}");
        assert_eq!(gone.body["message"], "deployments.apps \"web\" not found");
        let details = json!({ "name": "web", "group": "apps", "kind": "deployments" });
        assert_eq!(gone.body["details"], details);
    }
    assert_eq!(server.delete(PODS).await.body["items"], json!([]));
    assert_eq!(server.put(PODS, &json!({})).await.code, 405);
}

#[tokio::test]
async fn a_watch_of_a_kind_without_objects_marks_its_beginning() {
    let server = Server::new();
    let query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1\
                 &resourceVersionMatch=NotOlderThan";
    let mut watch = server.watch(&format!("{PODS}?{query}")).await;
    let (kind, mark) = watch.next().await.unwrap();
    assert_eq!((&*kind, &mark["kind"]), ("BOOKMARK", &"Pod".into()));
    assert_eq!(
        mark["metadata"]["annotations"],
        json!({ "k8s.io/initial-events-end": "true" })
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn discovery_shows_each_version_of_a_group_in_few_bytes() {
    let server = Server::new();
    let group = server.get("/apis/autoscaling").await.body;
    assert_eq!(group["preferredVersion"]["groupVersion"], "autoscaling/v2");
    assert_eq!(group["versions"][1]["groupVersion"], "autoscaling/v1");
    let list = server.get("/apis/autoscaling/v1").await.body;
    assert_eq!(list["resources"][0]["kind"], "HorizontalPodAutoscaler");
    assert_eq!(server.get("/apis/autoscaling/v3").await.code, 404);

    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut bytes = 0;
    for uri in ["/api", "/apis"] {
        let list = server.send("GET", uri, &[("accept", aggregated)], "").await;
        bytes += list.body.to_string().len();
    }
    // A real API server sends 64 KiB.
    assert!(bytes < 16 << 10, "{bytes}");

    // A client that has it receives nothing.
    let accept = ("accept", aggregated);
    let first = server.respond("GET", "/apis", &[accept], "").await;
    let tag = first.headers()["etag"].to_str().unwrap();
    let known = [accept, ("if-none-match", tag)];
    let again = server.respond("GET", "/apis", &known, "").await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(
        again
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
}
