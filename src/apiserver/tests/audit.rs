//! The audit log.

use super::*;
use crate::telemetry::AuditLog;

/// A server whose writes are logged in a file.
struct Audited {
    server: Server,
    path: std::path::PathBuf,
}

impl Audited {
    fn new() -> Self {
        let name = format!("audit-{}.log", crate::util::stamp::uid());
        let path = std::env::temp_dir().join(name);
        let mut server = Server::new();
        let api = Arc::get_mut(&mut server.api).unwrap();
        api.audit = Some(Arc::new(AuditLog::open(&path).unwrap()));
        Self { server, path }
    }

    /// Ends the server, and returns the lines of its log.
    fn lines(self) -> Vec<Value> {
        drop(self.server);
        let text = std::fs::read_to_string(&self.path).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn each_write_has_one_line_in_the_audit_log() {
    let audited = Audited::new();
    let server = &audited.server;
    server.get(CONFIG_MAPS).await;
    server.post(CONFIG_MAPS, &config_map("a")).await;
    let headers = [("impersonate-user", "ann"), ("user-agent", "kubectl/v1.37")];
    let one = format!("{CONFIG_MAPS}/a");
    server.send("DELETE", &one, &headers, "").await;
    let review = json!({ "spec": { "nonResourceAttributes": { "path": "/", "verb": "get" } } });
    server
        .post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &review,
        )
        .await;

    let lines = audited.lines();
    let [created, refused] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(created["verb"], "create");
    assert_eq!(
        created["objectRef"],
        json!({ "resource": "configmaps", "namespace": "default", "name": "a" })
    );
    assert_eq!(created["user"]["username"], "admin");
    assert_eq!(created["responseStatus"]["code"], 201);
    assert_eq!(
        created["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );

    assert_eq!(refused["verb"], "delete");
    assert_eq!(refused["requestURI"], one);
    assert_eq!(refused["impersonatedUser"]["username"], "ann");
    assert_eq!(refused["userAgent"], "kubectl/v1.37");
    assert_eq!(refused["responseStatus"]["code"], 403);
    assert_eq!(
        refused["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
}

#[tokio::test]
async fn created_objects_have_names_in_each_form_of_response() {
    let audited = Audited::new();
    let forms = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    ];
    for accept in forms {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let object = json!({ "metadata": { "generateName": "made-" } }).to_string();
        let server = &audited.server;
        server.send("POST", CONFIG_MAPS, &headers, &object).await;
    }

    let lines = audited.lines();
    assert_eq!(lines.len(), forms.len());
    for line in lines {
        assert_eq!(line["responseStatus"]["code"], 201);
        let name = line["objectRef"]["name"].as_str().expect("the name");
        assert!(name.starts_with("made-"), "{name}");
    }
}

#[tokio::test]
async fn the_audit_log_has_no_secrets_and_bounded_texts() {
    let audited = Audited::new();
    let server = &audited.server;
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "a": "very-secret" } });
    server
        .post("/api/v1/namespaces/default/secrets", &secret)
        .await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    server
        .post(accounts, &json!({ "metadata": { "name": "ci" } }))
        .await;
    let made = server
        .post(&format!("{accounts}/ci/token"), &json!({}))
        .await;
    let token = made.body["status"]["token"].as_str().unwrap().to_owned();
    let long = "x".repeat(50_000);
    let headers = [("user-agent", &*long)];
    server
        .send("DELETE", &format!("{accounts}/{long}"), &headers, "")
        .await;

    let lines = audited.lines();
    assert_eq!(lines.len(), 4);
    for line in &lines {
        let text = line.to_string();
        assert!(
            !text.contains("very-secret") && !text.contains(&token),
            "{text}"
        );
        assert!(text.len() < 8_000, "{}", text.len());
    }
    assert_eq!(lines[2]["objectRef"]["subresource"], "token");
}
