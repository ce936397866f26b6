//! The rights of users: authorization, impersonation, and the checks of what roles and bindings
//! grant.

use super::*;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

/// The clients of one cluster with the default roles: its administrator, and others.
struct Clients {
    admin: Server,
}

impl Clients {
    async fn new() -> Self {
        let admin = Server::new();
        let (propose, view) = (&*admin.api.propose, &*admin.api.view);
        crate::access::ensure_defaults(propose, view).await.unwrap();
        crate::access::aggregate(propose, view).await.unwrap();
        Self { admin }
    }

    /// Returns a client of this user, who is in a group.
    fn user(&self, name: &str) -> Server {
        let (signal, _drain) = drain::channel();
        Server {
            api: self.admin.api.clone(),
            user: User::known(name, ["team".to_owned()]),
            _signal: signal,
        }
    }

    /// Creates a role with one rule in the namespace `default`, and binds a user to it.
    async fn allow(&self, user: &str, verbs: &[&str], group: &str, resources: &[&str]) {
        let name = format!("{user}-{}", crate::util::stamp::uid());
        let rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources });
        let role = json!({ "metadata": { "name": name }, "rules": [rule] });
        assert_eq!(
            self.admin.post(ROLES, &role).await.code,
            StatusCode::CREATED
        );
        let binding = binding(&name, "Role", &name, user);
        assert_eq!(
            self.admin.post(BINDINGS, &binding).await.code,
            StatusCode::CREATED
        );
    }
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "kind": kind, "name": role },
        "subjects": [{ "kind": "User", "name": user }],
    })
}

fn message(response: &TestResponse) -> &str {
    assert_eq!(response.code, StatusCode::FORBIDDEN, "{}", response.body);
    assert_eq!(response.body["reason"], "Forbidden");
    response.body["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_refusal_has_the_words_of_a_real_server() {
    let clients = Clients::new().await;
    let carol = clients.user("carol");
    let services = "/api/v1/namespaces/default/services";
    let cases = [
        (
            "GET",
            "/api/v1/namespaces/default/services?watch=true",
            "services is forbidden: User \"carol\" cannot watch resource \"services\" in \
             API group \"\" in the namespace \"default\"",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/services?fieldSelector=metadata.name%3Dx",
            "services \"x\" is forbidden: User \"carol\" cannot list resource \"services\" \
             in API group \"\" in the namespace \"default\"",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default/services/x/status",
            "services \"x\" is forbidden: User \"carol\" cannot patch resource \
             \"services/status\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "PUT",
            "/api/v1/namespaces/default/status",
            "namespaces \"default\" is forbidden: User \"carol\" cannot update resource \
             \"namespaces/status\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/default",
            "namespaces \"default\" is forbidden: User \"carol\" cannot delete resource \
             \"namespaces\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "DELETE",
            CLUSTER_ROLES,
            "clusterroles.rbac.authorization.k8s.io is forbidden: User \"carol\" cannot \
             deletecollection resource \"clusterroles\" in API group \
             \"rbac.authorization.k8s.io\" at the cluster scope",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/services/a%3Cb%3E&%22c",
            "services \"a<b>&\\\"c\" is forbidden: User \"carol\" cannot get resource \
             \"services\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "GET",
            "/apis/foo/v1/namespaces/x/bars/y",
            "bars.foo \"y\" is forbidden: User \"carol\" cannot get resource \"bars\" in \
             API group \"foo\" in the namespace \"x\"",
        ),
        (
            "GET",
            "/foo/",
            r#"forbidden: User "carol" cannot get path "/foo/""#,
        ),
        (
            "POST",
            "/version",
            r#"forbidden: User "carol" cannot post path "/version""#,
        ),
    ];
    for (method, path, expected) in cases {
        let response = carol.send(method, path, &[], "").await;
        assert_eq!(message(&response), expected, "{method} {path}");
    }

    let refused = carol.get(&format!("{services}/x")).await.body;
    assert_eq!(
        refused["details"],
        json!({ "name": "x", "kind": "services" })
    );
    assert_eq!(carol.get("/foo").await.body["details"], json!({}));
    for open in [
        "/api",
        "/apis",
        "/apis/foo",
        "/version",
        "/healthz",
        "/openapi/v3",
    ] {
        assert_ne!(carol.get(open).await.code, StatusCode::FORBIDDEN, "{open}");
    }
}

#[tokio::test]
async fn a_role_opens_its_namespace_and_no_other() {
    let clients = Clients::new().await;
    let ann = clients.user("ann");
    assert_eq!(ann.get(CONFIG_MAPS).await.code, StatusCode::FORBIDDEN);
    clients
        .allow("ann", &["get", "list", "create"], "", &["configmaps"])
        .await;

    assert_eq!(ann.get(CONFIG_MAPS).await.code, StatusCode::OK);
    let created = ann.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(created.code, StatusCode::CREATED);
    let one = format!("{CONFIG_MAPS}/a");
    assert_eq!(ann.get(&one).await.code, StatusCode::OK);
    assert_eq!(ann.delete(&one).await.code, StatusCode::FORBIDDEN);
    assert_eq!(
        ann.get("/api/v1/configmaps").await.code,
        StatusCode::FORBIDDEN
    );
    let other = "/api/v1/namespaces/kube-system/configmaps";
    assert_eq!(ann.get(other).await.code, StatusCode::FORBIDDEN);
    assert_eq!(
        ann.get(&format!("{CONFIG_MAPS}/")).await.code,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_name_in_a_rule_opens_one_object() {
    let clients = Clients::new().await;
    let ann = clients.user("ann");
    let rule = json!({
        "verbs": ["get", "list", "watch", "update"], "apiGroups": [""],
        "resources": ["configmaps"], "resourceNames": ["a"],
    });
    let role = json!({ "metadata": { "name": "one" }, "rules": [rule] });
    clients.admin.post(ROLES, &role).await;
    clients
        .admin
        .post(BINDINGS, &binding("one", "Role", "one", "ann"))
        .await;
    for name in ["a", "b"] {
        clients.admin.post(CONFIG_MAPS, &config_map(name)).await;
    }

    assert_eq!(
        ann.get(&format!("{CONFIG_MAPS}/a")).await.code,
        StatusCode::OK
    );
    assert_eq!(
        ann.get(&format!("{CONFIG_MAPS}/b")).await.code,
        StatusCode::FORBIDDEN
    );
    assert_eq!(ann.get(CONFIG_MAPS).await.code, StatusCode::FORBIDDEN);
    let listed = ann
        .get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da"))
        .await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    // The selector that is decided on is the one that is applied.
    for trick in [
        "fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db",
        "fieldSelector=metadata.name!%3Da",
        "fieldSelector=metadata.name%3Db,metadata.name%3Da",
    ] {
        let response = ann.get(&format!("{CONFIG_MAPS}?{trick}")).await;
        let leaks = response.body["items"].as_array().into_iter().flatten();
        assert!(
            leaks
                .into_iter()
                .all(|item| item["metadata"]["name"] == "a"),
            "{trick}"
        );
    }
}

#[tokio::test]
async fn a_replacement_that_creates_needs_the_right_to_create() {
    let clients = Clients::new().await;
    let ann = clients.user("ann");
    clients.allow("ann", &["update"], "", &["endpoints"]).await;
    let object = json!({ "metadata": { "name": "x" } });
    let refused = ann.put(&format!("{ENDPOINTS}/x"), &object).await;
    assert_eq!(
        message(&refused),
        "endpoints \"x\" is forbidden: User \"ann\" cannot create resource \
             \"endpoints\" in API group \"\" in the namespace \"default\""
    );
    clients.allow("ann", &["create"], "", &["endpoints"]).await;
    let created = ann.put(&format!("{ENDPOINTS}/x"), &object).await;
    assert_eq!(created.code, StatusCode::CREATED);
}

#[tokio::test]
async fn impersonation_needs_its_rights_and_replaces_the_user() {
    let clients = Clients::new().await;
    let carol = clients.user("carol");
    let secrets = "/api/v1/namespaces/default/secrets";
    let role = json!({
        "metadata": { "name": "imp" },
        "rules": [{
            "verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"],
            "resourceNames": ["bob"],
        }],
    });
    clients.admin.post(CLUSTER_ROLES, &role).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    clients
        .admin
        .post(bindings, &binding("imp", "ClusterRole", "imp", "carol"))
        .await;

    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[("impersonate-user", "bob")],
            "secrets is forbidden: User \"bob\" cannot list resource \"secrets\" in API \
             group \"\" in the namespace \"default\"",
        ),
        (
            &[("impersonate-user", "dave")],
            "users \"dave\" is forbidden: User \"carol\" cannot impersonate resource \
             \"users\" in API group \"\" at the cluster scope",
        ),
        (
            &[
                ("impersonate-user", "bob"),
                ("impersonate-group", "system:masters"),
            ],
            "groups \"system:masters\" is forbidden: User \"carol\" cannot impersonate \
             resource \"groups\" in API group \"\" at the cluster scope",
        ),
        (
            &[("impersonate-user", "bob"), ("impersonate-uid", "7")],
            "uids.authentication.k8s.io \"7\" is forbidden: User \"carol\" cannot \
             impersonate resource \"uids\" in API group \"authentication.k8s.io\" at the \
             cluster scope",
        ),
        (
            &[
                ("impersonate-user", "bob"),
                ("impersonate-extra-scopes", "x"),
            ],
            "userextras.authentication.k8s.io \"x\" is forbidden: User \"carol\" cannot \
             impersonate resource \"userextras/scopes\" in API group \
             \"authentication.k8s.io\" at the cluster scope",
        ),
        (
            &[("impersonate-user", "system:serviceaccount:default:x")],
            "serviceaccounts \"x\" is forbidden: User \"carol\" cannot impersonate resource \
             \"serviceaccounts\" in API group \"\" in the namespace \"default\"",
        ),
    ];
    for (headers, expected) in cases {
        let response = carol.send("GET", secrets, headers, "").await;
        assert_eq!(message(&response), expected, "{headers:?}");
    }

    let nameless = carol
        .send("GET", secrets, &[("impersonate-group", "g")], "")
        .await;
    assert_eq!(nameless.code, StatusCode::BAD_REQUEST);
    // The administrator loses its rights with its name.
    let headers = [("impersonate-user", "bob")];
    let refused = clients.admin.send("GET", secrets, &headers, "").await;
    assert_eq!(refused.code, StatusCode::FORBIDDEN);
    let headers = [("impersonate-user", "x"), ("impersonate-group", MASTERS)];
    let allowed = clients.admin.send("GET", secrets, &headers, "").await;
    assert_eq!(allowed.code, StatusCode::OK);
}

#[tokio::test]
async fn nobody_grants_more_than_they_have() {
    let clients = Clients::new().await;
    let ann = clients.user("ann");
    let group = "rbac.authorization.k8s.io";
    let verbs = ["create", "update", "patch", "get"];
    clients
        .allow("ann", &verbs, group, &["roles", "rolebindings"])
        .await;
    clients.allow("ann", &["get"], "", &["services"]).await;

    let rule = |verbs: &[&str]| {
        let rule = json!({ "verbs": verbs, "apiGroups": [""], "resources": ["services"] });
        json!({ "metadata": { "name": "r" }, "rules": [rule] })
    };
    let refused = ann.post(ROLES, &rule(&["get", "delete"])).await;
    assert_eq!(
        message(&refused),
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" \
         (groups=[\"team\" \"system:authenticated\"]) is attempting to grant RBAC permissions \
         not currently held:\n{APIGroups:[\"\"], Resources:[\"services\"], Verbs:[\"delete\"]}"
    );
    assert_eq!(
        ann.post(ROLES, &rule(&["get"])).await.code,
        StatusCode::CREATED
    );

    let one = format!("{ROLES}/r");
    for response in [
        ann.put(&one, &rule(&["*"])).await,
        ann.merge(&one, &rule(&["get", "update"])).await,
        ann.post(
            BINDINGS,
            &binding("b", "ClusterRole", "cluster-admin", "ann"),
        )
        .await,
        ann.put(
            &format!("{BINDINGS}/b"),
            &binding("b", "ClusterRole", "edit", "ann"),
        )
        .await,
    ] {
        assert!(message(&response).contains("is attempting to grant"));
    }
    let absent = ann
        .post(BINDINGS, &binding("b", "Role", "absent", "ann"))
        .await;
    assert_eq!(absent.code, StatusCode::NOT_FOUND);
    let expected = r#"rolebindings.rbac.authorization.k8s.io "absent" not found"#;
    assert_eq!(absent.body["message"], expected);
    let same = ann.post(BINDINGS, &binding("b", "Role", "r", "bob")).await;
    assert_eq!(same.code, StatusCode::CREATED);

    // A role that has more stays as it is, but its metadata may be released.
    clients.admin.put(&one, &rule(&["delete"])).await;
    let released = ann
        .merge(&one, &json!({ "metadata": { "finalizers": ["a.b/c"] } }))
        .await;
    assert_eq!(released.code, StatusCode::OK);
    let label = ann
        .merge(&one, &json!({ "metadata": { "labels": { "a": "b" } } }))
        .await;
    assert_eq!(label.code, StatusCode::FORBIDDEN);

    clients
        .allow(
            "ann",
            &["escalate", "bind"],
            group,
            &["roles", "clusterroles"],
        )
        .await;
    assert_eq!(ann.put(&one, &rule(&["*"])).await.code, StatusCode::OK);
    let bound = ann
        .post(BINDINGS, &binding("c", "ClusterRole", "edit", "bob"))
        .await;
    assert_eq!(bound.code, StatusCode::CREATED);
}

#[tokio::test]
async fn only_an_administrator_makes_roles_that_gather() {
    let clients = Clients::new().await;
    let ann = clients.user("ann");
    let rule = json!({
        "verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
    });
    let role = json!({ "metadata": { "name": "maker" }, "rules": [rule] });
    clients.admin.post(CLUSTER_ROLES, &role).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    clients
        .admin
        .post(bindings, &binding("maker", "ClusterRole", "maker", "ann"))
        .await;

    let gathers = json!({
        "metadata": { "name": "g" },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
    });
    assert_eq!(
        message(&ann.post(CLUSTER_ROLES, &gathers).await),
        "clusterroles.rbac.authorization.k8s.io \"g\" is forbidden: \
         must have cluster-admin privileges to use the aggregationRule"
    );
    let created = clients.admin.post(CLUSTER_ROLES, &gathers).await;
    assert_eq!(created.code, StatusCode::CREATED);
}
