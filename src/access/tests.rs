use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::Local,
    objects::{Key, Kind, Op, Proposal, Propose, View},
};

/// A cluster with the default roles, and the index over it.
struct Fixture {
    cluster: Arc<Local>,
    index: Index,
}

impl Fixture {
    async fn new() -> Self {
        let cluster = Arc::new(Local::in_memory().unwrap());
        ensure_defaults(&*cluster, &*cluster).await.unwrap();
        aggregate(&*cluster, &*cluster).await.unwrap();
        let index = Index::new(cluster.clone());
        Self { cluster, index }
    }

    async fn put(&self, kind: Kind, namespace: &str, name: &str, mut object: Value) {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.name().into();
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = namespace.into();
        let key = key(kind, namespace, name);
        let op = match self.cluster.get(&key) {
            None => Op::Create(object.to_string().into()),
            Some(_) => Op::Update {
                expected: None,
                body: object.to_string().into(),
            },
        };
        self.cluster.propose(Proposal { key, op }).await.unwrap();
    }

    async fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        let op = Op::Delete { expected: None };
        let key = key(kind, namespace, name);
        self.cluster.propose(Proposal { key, op }).await.unwrap();
    }

    /// Binds the user `ann` to a role in the namespace `shop`.
    async fn bind_ann(&self, kind: &str, role: &str) {
        let subject = json!({ "kind": "User", "name": "ann" });
        let object = json!({
            "roleRef": { "kind": kind, "name": role },
            "subjects": [subject],
        });
        self.put(Kind::RoleBinding, "shop", "ann", object).await;
    }

    fn may(&self, user: &str, verb: &str, resource: &str, namespace: &str) -> bool {
        let user = User::known(user, []);
        self.index
            .decide(&user, &action(verb, resource, namespace))
            .allowed
    }

    fn rules(&self, role: &str) -> Value {
        let role = self.cluster.get(&key(Kind::ClusterRole, "", role)).unwrap();
        let body: Value = serde_json::from_slice(&role.body).unwrap();
        body["rules"].clone()
    }
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn action(verb: &str, resource: &str, namespace: &str) -> Action {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Action::Resource(ResourceAction {
        verb: verb.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        ..ResourceAction::default()
    })
}

fn rule(value: Value) -> Rule {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn decisions_follow_each_change_at_once() {
    let fixture = Fixture::new().await;
    assert!(!fixture.may("ann", "get", "services", "shop"));

    fixture.bind_ann("ClusterRole", "view").await;
    assert!(fixture.may("ann", "get", "services", "shop"));
    assert!(!fixture.may("ann", "get", "services", "other"));
    assert!(
        !fixture.may("ann", "get", "services", ""),
        "not cluster-wide"
    );
    assert!(!fixture.may("ann", "delete", "services", "shop"));
    assert!(!fixture.may("ann", "get", "secrets", "shop"));
    assert!(!fixture.may("bob", "get", "services", "shop"));

    fixture.bind_ann("ClusterRole", "edit").await;
    assert!(fixture.may("ann", "delete", "services", "shop"));
    fixture.delete(Kind::RoleBinding, "shop", "ann").await;
    assert!(!fixture.may("ann", "get", "services", "shop"));
}

#[tokio::test]
async fn an_index_that_falls_behind_reads_all_again() {
    let fixture = Fixture::new().await;
    fixture.bind_ann("Role", "r").await;
    let allows = |verb: &str| {
        let rule = json!({ "verbs": [verb], "apiGroups": [""], "resources": ["services"] });
        json!({ "rules": [rule] })
    };
    fixture.put(Kind::Role, "shop", "r", allows("get")).await;
    assert!(fixture.may("ann", "get", "services", "shop"));

    // The history of a kind is bounded.
    for number in 0..5_000 {
        let verb = if number % 2 == 0 { "get" } else { "list" };
        fixture.put(Kind::Role, "shop", "r", allows(verb)).await;
    }
    assert!(!fixture.may("ann", "get", "services", "shop"));
    assert!(fixture.may("ann", "list", "services", "shop"));
}

#[tokio::test]
async fn a_verdict_names_the_binding_or_the_missing_role() {
    let fixture = Fixture::new().await;
    let ann = User::known("ann", []);
    fixture.bind_ann("ClusterRole", "view").await;
    assert_eq!(
        fixture
            .index
            .decide(&ann, &action("list", "services", "shop"))
            .reason,
        r#"RBAC: allowed by RoleBinding "ann/shop" of ClusterRole "view" to User "ann""#
    );

    fixture.bind_ann("Role", "absent").await;
    let decision = fixture
        .index
        .decide(&ann, &action("list", "services", "shop"));
    assert!(!decision.allowed);
    let missing = r#"RBAC: role.rbac.authorization.k8s.io "absent" not found"#;
    assert_eq!(decision.reason, missing);
}

#[tokio::test]
async fn service_accounts_are_members_by_name_and_group() {
    let fixture = Fixture::new().await;
    let subject = json!({ "kind": "ServiceAccount", "name": "ci" });
    let object = json!({
        "roleRef": { "kind": "ClusterRole", "name": "edit" },
        "subjects": [subject],
    });
    fixture.put(Kind::RoleBinding, "shop", "ci", object).await;
    let group = json!({ "kind": "Group", "name": "system:serviceaccounts:shop" });
    let object = json!({
        "roleRef": { "kind": "ClusterRole", "name": "view" },
        "subjects": [group],
    });
    fixture
        .put(Kind::ClusterRoleBinding, "", "all", object)
        .await;

    let may = |account: &User, verb, namespace| {
        let decision = fixture
            .index
            .decide(account, &action(verb, "services", namespace));
        decision.allowed
    };
    let (ci, other) = (User::account("shop", "ci"), User::account("shop", "x"));
    assert!(may(&ci, "delete", "shop") && may(&ci, "get", "other"));
    assert!(!may(&other, "delete", "shop") && may(&other, "get", "other"));
    let elsewhere = User::account("other", "ci");
    assert!(!may(&elsewhere, "get", "shop") && !may(&elsewhere, "delete", "shop"));
    assert_eq!(User::split_account(&ci.name), Some(("shop", "ci")));
    assert_eq!(User::split_account("system:serviceaccount:a:b:c"), None);
}

#[tokio::test]
async fn masters_may_do_everything_without_roles() {
    let index = Index::new(Arc::new(Local::in_memory().unwrap()));
    let admin = User::known("admin", [MASTERS.to_owned()]);
    assert!(index.decide(&admin, &action("any", "things", "")).allowed);
    let stranger = User::known("stranger", []);
    assert!(
        !index
            .decide(&stranger, &action("get", "things", ""))
            .allowed
    );
}

#[test]
fn a_rule_allows_what_it_names_and_nothing_else() {
    let allows = |rule_: Value, action_: &Action| rule(rule_).allows(action_);
    let named = |resources: &[&str], names: &[&str]| {
        json!({
            "verbs": ["get"], "apiGroups": [""], "resources": resources, "resourceNames": names,
        })
    };
    let get = |resource: &str, name: &str| match action("get", resource, "n") {
        Action::Resource(one) => Action::Resource(ResourceAction {
            name: name.into(),
            ..one
        }),
        path => path,
    };

    assert!(allows(named(&["services"], &[]), &get("services", "a")));
    assert!(allows(named(&["*"], &[]), &get("services/status", "a")));
    assert!(allows(
        named(&["*/status"], &[]),
        &get("services/status", "a")
    ));
    assert!(allows(named(&["services"], &["a"]), &get("services", "a")));
    assert!(!allows(named(&["services"], &["a"]), &get("services", "b")));
    assert!(!allows(named(&["services"], &["a"]), &get("services", "")));
    assert!(!allows(
        named(&["services"], &[]),
        &get("services/status", "a")
    ));
    assert!(!allows(
        named(&["services/status"], &[]),
        &get("services", "a")
    ));
    assert!(!allows(named(&["*/status"], &[]), &get("services", "a")));
    assert!(!allows(named(&["service"], &[]), &get("services", "a")));

    let paths = json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"] });
    let path = |verb: &str, path: &str| Action::Path {
        verb: verb.into(),
        path: path.into(),
    };
    assert!(allows(paths.clone(), &path("get", "/api/v1")));
    assert!(!allows(paths.clone(), &path("get", "/api")));
    assert!(!allows(paths.clone(), &path("get", "/healthz/x")));
    assert!(!allows(paths.clone(), &path("post", "/healthz")));
    assert!(!allows(paths, &get("services", "a")));
}

#[test]
fn missing_rights_are_listed_as_a_real_server_does() {
    let own = [rule(json!({
        "verbs": ["get", "list"], "apiGroups": [""], "resources": ["services", "*/status"],
    }))];
    let lacks = |rule_: Value| missing(&own, &[rule(rule_)]).unwrap();
    let wanted = json!({
        "verbs": ["get", "update", "delete"], "apiGroups": ["", "apps"],
        "resources": ["services", "pods/status"],
    });
    assert_eq!(
        lacks(wanted),
        [
            r#"{APIGroups:[""], Resources:["pods/status"], Verbs:["update" "delete"]}"#,
            r#"{APIGroups:[""], Resources:["services"], Verbs:["update" "delete"]}"#,
            r#"{APIGroups:["apps"], Resources:["pods/status"], Verbs:["get" "update" "delete"]}"#,
            r#"{APIGroups:["apps"], Resources:["services"], Verbs:["get" "update" "delete"]}"#,
        ]
    );
    let named = json!({
        "verbs": ["get"], "apiGroups": [""], "resources": ["services"], "resourceNames": ["a"],
    });
    assert!(lacks(named).is_empty());
    let star = json!({ "verbs": ["*"], "apiGroups": [""], "resources": ["services"] });
    assert_eq!(lacks(star).len(), 1);
    let path = json!({ "verbs": ["get"], "nonResourceURLs": ["/x"] });
    assert_eq!(lacks(path), [r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#]);
}

#[test]
fn a_comparison_of_rules_is_bounded() {
    let many: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let rule = rule(json!({ "verbs": many, "apiGroups": many, "resources": many }));
    assert_eq!(missing(&[], &[rule]), Err(TooManyTuples));
}

#[tokio::test]
async fn default_roles_are_aggregated_and_kept_complete() {
    let fixture = Fixture::new().await;
    assert!(fixture.rules("view").as_array().unwrap().len() > 3);
    assert!(fixture.rules("admin").as_array().unwrap().len() > 6);
    let before = fixture.cluster.revision();
    ensure_defaults(&*fixture.cluster, &*fixture.cluster)
        .await
        .unwrap();
    aggregate(&*fixture.cluster, &*fixture.cluster)
        .await
        .unwrap();
    assert_eq!(
        fixture.cluster.revision(),
        before,
        "nothing is written again"
    );

    // Rights that were removed come back, unless the role is marked.
    let reduced = json!({ "rules": [], "metadata": {} });
    fixture
        .put(Kind::ClusterRole, "", "system:discovery", reduced.clone())
        .await;
    let mut kept = reduced;
    kept["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
    fixture
        .put(Kind::ClusterRole, "", "system:basic-user", kept)
        .await;
    ensure_defaults(&*fixture.cluster, &*fixture.cluster)
        .await
        .unwrap();
    assert_eq!(
        fixture.rules("system:discovery").as_array().unwrap().len(),
        1
    );
    assert_eq!(fixture.rules("system:basic-user"), json!([]));
}

#[tokio::test]
async fn a_labelled_role_adds_to_the_aggregated_ones() {
    let fixture = Fixture::new().await;
    let rule = json!({ "verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"] });
    let labels = json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    let role = json!({ "metadata": { "labels": labels }, "rules": [rule] });
    fixture.put(Kind::ClusterRole, "", "things", role).await;
    aggregate(&*fixture.cluster, &*fixture.cluster)
        .await
        .unwrap();
    assert!(fixture.rules("view").as_array().unwrap().contains(&rule));

    fixture.delete(Kind::ClusterRole, "", "things").await;
    aggregate(&*fixture.cluster, &*fixture.cluster)
        .await
        .unwrap();
    assert!(!fixture.rules("view").as_array().unwrap().contains(&rule));
}

#[tokio::test]
async fn each_namespace_has_an_account_default() {
    let fixture = Fixture::new().await;
    let keeper = tokio::spawn(keep_accounts(
        fixture.cluster.clone(),
        fixture.cluster.clone(),
    ));
    let account = key(Kind::ServiceAccount, "shop", "default");
    for _time in 0..2 {
        let mut watch = fixture
            .cluster
            .watch(Kind::ServiceAccount, fixture.cluster.revision())
            .unwrap();
        match fixture.cluster.get(&account) {
            None => fixture.put(Kind::Namespace, "", "shop", json!({})).await,
            // One that is deleted comes back.
            Some(_) => {
                fixture
                    .delete(Kind::ServiceAccount, "shop", "default")
                    .await;
            }
        }
        while fixture.cluster.get(&account).is_none() {
            watch.next().await.unwrap();
        }
    }
    keeper.abort();
}
