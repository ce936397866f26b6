//! Owners and their dependents.

use super::*;

/// Creates a ConfigMap with owners, and returns it.
async fn create(server: &Server, name: &str, owners: &[&Value]) -> Value {
    let reference = |owner: &&Value| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": true,
        })
    };
    let mut object = config_map(name);
    object["metadata"]["ownerReferences"] = owners.iter().map(reference).collect();
    server.post(CONFIG_MAPS, &object).await.body
}

/// Deletes an object with a propagation policy.
async fn delete(server: &Server, name: &str, policy: &str) -> TestResponse {
    let options = json!({ "propagationPolicy": policy }).to_string();
    let uri = format!("{CONFIG_MAPS}/{name}");
    server.send("DELETE", &uri, &[], &options).await
}

/// Returns the names of the ConfigMaps that are left.
async fn left(server: &Server) -> Vec<String> {
    server.api.collect().await.unwrap();
    let list = server.get(CONFIG_MAPS).await.body;
    let names = list["items"].as_array().unwrap().iter();
    names
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn dependents_are_deleted_after_their_last_owner() {
    let server = Server::new();
    let one = create(&server, "one", &[]).await;
    let two = create(&server, "two", &[]).await;
    let child = create(&server, "child", &[&one, &two]).await;
    create(&server, "grandchild", &[&child]).await;
    create(&server, "other", &[]).await;
    assert_eq!(left(&server).await.len(), 5);

    assert_eq!(delete(&server, "one", "Background").await.code, 200);
    assert_eq!(left(&server).await.len(), 4);
    let child = server.get(&format!("{CONFIG_MAPS}/child")).await.body;
    let owners = child["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!(owners.len(), 1);

    delete(&server, "two", "Background").await;
    assert_eq!(left(&server).await, ["other"]);
}

#[tokio::test]
async fn an_owner_waits_for_its_dependents_in_the_foreground() {
    let server = Server::new();
    let owner = create(&server, "owner", &[]).await;
    let mut child = create(&server, "child", &[&owner]).await;
    child["metadata"]["finalizers"] = json!(["a.b/c"]);
    let child = server
        .put(&format!("{CONFIG_MAPS}/child"), &child)
        .await
        .body;
    create(&server, "grandchild", &[&child]).await;

    let marked = delete(&server, "owner", "Foreground").await;
    assert_eq!(marked.code, StatusCode::OK);
    let metadata = &marked.body["metadata"];
    assert_eq!(metadata["finalizers"], json!(["foregroundDeletion"]));
    assert!(metadata["deletionTimestamp"].is_string());
    assert_eq!(left(&server).await, ["child", "owner"]);

    let free = json!({ "metadata": { "finalizers": null } });
    server.merge(&format!("{CONFIG_MAPS}/child"), &free).await;
    assert_eq!(left(&server).await.len(), 0);
}

#[tokio::test]
async fn orphans_lose_the_reference_to_their_owner() {
    let server = Server::new();
    let owner = create(&server, "owner", &[]).await;
    create(&server, "child", &[&owner]).await;
    let marked = delete(&server, "owner", "Orphan").await;
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["orphan"]));

    assert_eq!(left(&server).await, ["child"]);
    let child = server.get(&format!("{CONFIG_MAPS}/child")).await.body;
    assert!(child["metadata"].get("ownerReferences").is_none());
}

#[tokio::test]
async fn a_second_deletion_changes_the_fate_of_dependents() {
    let server = Server::new();
    let owner = create(&server, "owner", &[]).await;
    create(&server, "child", &[&owner]).await;
    delete(&server, "owner", "Foreground").await;
    assert_eq!(delete(&server, "owner", "Background").await.code, 200);
    let gone = server.get(&format!("{CONFIG_MAPS}/owner")).await;
    assert_eq!(gone.code, StatusCode::NOT_FOUND);
    assert_eq!(left(&server).await.len(), 0);
}

#[tokio::test]
async fn an_object_stays_if_its_owner_cannot_be_known() {
    let server = Server::new();
    let mut object = config_map("kept");
    let owner = |version: &str, kind: &str| {
        let (name, uid) = ("x", "1");
        json!({ "apiVersion": version, "kind": kind, "name": name, "uid": uid })
    };
    for (number, (api_version, kind)) in [
        ("apps/v1", "Deployment"),
        ("v1", "Node"),
        ("coordination.k8s.io/v1", "Lease"),
        ("example.com/v1", "Thing"),
    ]
    .into_iter()
    .enumerate()
    {
        object["metadata"]["name"] = format!("kept-{number}").into();
        object["metadata"]["ownerReferences"] = json!([owner(api_version, kind)]);
        server.post(CONFIG_MAPS, &object).await;
    }
    object["metadata"]["name"] = "gone".into();
    object["metadata"]["ownerReferences"] = json!([owner("v1", "Secret")]);
    server.post(CONFIG_MAPS, &object).await;
    assert_eq!(left(&server).await.len(), 4);
}

#[tokio::test]
async fn the_running_collector_follows_deletions() {
    let server = Server::new();
    let api = server.api.clone();
    let collector = tokio::spawn(async move { api.collect_garbage().await });
    let owner = create(&server, "owner", &[]).await;
    let mut changes = server
        .watch(&format!(
            "{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Dchild"
        ))
        .await;
    create(&server, "child", &[&owner]).await;
    assert_eq!(changes.next().await.unwrap().0, "ADDED");
    delete(&server, "owner", "Background").await;
    assert_eq!(changes.next().await.unwrap().0, "DELETED");
    collector.abort();
}
