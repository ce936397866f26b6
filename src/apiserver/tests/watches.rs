//! Watching changes.

use super::*;

#[tokio::test]
async fn a_watch_continues_after_a_list() {
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
async fn a_watch_follows_objects_in_and_out_of_its_selector() {
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
async fn a_watch_list_marks_the_end_of_the_initial_objects() {
    let server = Server::new();
    server.post(CONFIG_MAPS, &config_map("a")).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true";
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
async fn watches_time_out_and_are_limited() {
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
