//! Reviews of users, actions and tokens, and tokens of ServiceAccounts. The expected responses were
//! recorded from a real API server.

use super::*;
use crate::access::{TokenError, TokenKey, TokenRequest};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// A cluster with the default roles and a ServiceAccount, for its administrator.
async fn server() -> Server {
    let server = Server::new();
    let (propose, view) = (&*server.api.propose, &*server.api.view);
    crate::access::ensure_defaults(propose, view).await.unwrap();
    let account = json!({ "metadata": { "name": "ci" } });
    assert_eq!(
        server.post(ACCOUNTS, &account).await.code,
        StatusCode::CREATED
    );
    server
}

async fn invalid(server: &Server, path: &str, body: Value) -> String {
    let response = server.post(path, &body).await;
    assert_eq!(
        response.code,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        response.body
    );
    response.body["message"].as_str().unwrap().to_owned()
}

/// Returns a token of the account, from a request with this spec.
async fn token(server: &Server, spec: Value) -> String {
    let request = json!({ "spec": spec });
    let response = server.post(&format!("{ACCOUNTS}/ci/token"), &request).await;
    assert_eq!(response.code, StatusCode::CREATED, "{}", response.body);
    response.body["status"]["token"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Returns the user that a token authenticates.
fn user(server: &Server, token: &str) -> Option<User> {
    let mut headers = http::HeaderMap::new();
    let value = format!("Bearer {token}").parse().unwrap();
    headers.insert("authorization", value);
    server.api.authenticate(None, &headers)
}

#[tokio::test]
async fn a_review_of_an_action_has_the_verdict_and_its_reason() {
    let server = server().await;
    let own = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let spec = json!({ "resourceAttributes": { "verb": "get", "resource": "pods" } });
    let response = server.post(&own, &json!({ "spec": spec })).await;
    assert_eq!(
        (response.code, response.body),
        (
            StatusCode::CREATED,
            json!({
                "kind": "SelfSubjectAccessReview",
                "apiVersion": "authorization.k8s.io/v1",
                "metadata": {},
                "spec": spec,
                "status": { "allowed": true },
            })
        )
    );

    let named = format!("{AUTHORIZATION}/subjectaccessreviews");
    let spec = json!({
        "groups": ["system:authenticated"],
        "nonResourceAttributes": { "path": "/api", "verb": "get" },
    });
    let reason = "RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \
                  \"system:discovery\" to Group \"system:authenticated\"";
    let found = server.post(&named, &json!({ "spec": spec })).await.body;
    assert_eq!(
        found["status"],
        json!({ "allowed": true, "reason": reason })
    );

    let spec = json!({
        "user": "carol",
        "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": "default" },
    });
    let found = server.post(&named, &json!({ "spec": spec })).await.body;
    assert_eq!(found["status"], json!({ "allowed": false }));
    let local = format!("{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews");
    let found = server.post(&local, &json!({ "spec": spec })).await.body;
    assert_eq!(found["metadata"], json!({ "namespace": "default" }));
}

#[tokio::test]
async fn a_wrong_review_is_refused_as_by_a_real_server() {
    let server = server().await;
    let own = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let named = format!("{AUTHORIZATION}/subjectaccessreviews");
    let local = format!("{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews");
    let path = json!({ "path": "/x", "verb": "get" });
    let resource = json!({ "verb": "get", "resource": "pods" });

    let both = json!({
        "spec": { "resourceAttributes": resource, "nonResourceAttributes": path },
    });
    assert_eq!(
        invalid(&server, &own, both).await,
        ".authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: \
         Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: \
         cannot be specified in combination with resourceAttributes"
    );
    assert_eq!(
        invalid(&server, &own, json!({ "spec": {} })).await,
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: \
         exactly one of nonResourceAttributes or resourceAttributes must be specified"
    );
    let nobody = json!({ "spec": { "resourceAttributes": resource } });
    assert_eq!(
        invalid(&server, &named, nobody).await,
        ".authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": \
         at least one of user or group must be specified"
    );
    let elsewhere = json!({ "spec": { "user": "carol", "resourceAttributes": resource } });
    assert_eq!(
        invalid(&server, &local, elsewhere).await,
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: \
         Invalid value: \"\": must match metadata.namespace"
    );
    let metadata = json!({
        "metadata": { "name": "x" }, "spec": { "nonResourceAttributes": path },
    });
    assert!(
        invalid(&server, &own, metadata)
            .await
            .ends_with(": must be empty")
    );

    let reviews = format!("{AUTHENTICATION}/selfsubjectreviews");
    assert_eq!(
        server.get(&reviews).await.code,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        server.get(&format!("{reviews}/x")).await.code,
        StatusCode::NOT_FOUND
    );
    let rules = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let nowhere = server.post(&rules, &json!({ "spec": {} })).await;
    assert_eq!(nowhere.code, StatusCode::BAD_REQUEST);
    assert_eq!(nowhere.body["message"], "no namespace on request");
}

#[tokio::test]
async fn a_user_learns_its_name_and_its_rules() {
    let server = server().await;
    let response = server
        .post(&format!("{AUTHENTICATION}/selfsubjectreviews"), &json!({}))
        .await;
    assert_eq!(
        response.body["status"]["userInfo"],
        json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] })
    );

    let spec = json!({ "spec": { "namespace": "default" } });
    let rules = server
        .post(&format!("{AUTHORIZATION}/selfsubjectrulesreviews"), &spec)
        .await;
    let status = &rules.body["status"];
    let all = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
    assert!(status["resourceRules"].as_array().unwrap().contains(&all));
    let paths = json!({ "verbs": ["*"], "nonResourceURLs": ["*"] });
    assert!(
        status["nonResourceRules"]
            .as_array()
            .unwrap()
            .contains(&paths)
    );
    assert_eq!(status["incomplete"], false);
    assert_eq!(rules.body["spec"], json!({}));
}

#[tokio::test]
async fn a_token_makes_its_account_the_user() {
    let server = server().await;
    let request = json!({ "spec": { "expirationSeconds": 600 } });
    let made = server.post(&format!("{ACCOUNTS}/ci/token"), &request).await;
    assert_eq!(
        made.body["spec"],
        json!({
            "audiences": ["https://kubernetes.default.svc"],
            "expirationSeconds": 600,
            "boundObjectRef": null,
        })
    );
    let token = made.body["status"]["token"].as_str().unwrap();

    let found = user(&server, token).unwrap();
    assert_eq!(found.name, "system:serviceaccount:default:ci");
    assert_eq!(
        found.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ]
    );
    assert_eq!(found.uid, made.body["metadata"]["uid"]);

    let review = json!({ "spec": { "token": token } });
    let reviewed = server
        .post(&format!("{AUTHENTICATION}/tokenreviews"), &review)
        .await;
    let status = &reviewed.body["status"];
    assert_eq!(status["authenticated"], true);
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:default:ci"
    );
    assert_eq!(
        status["audiences"],
        json!(["https://kubernetes.default.svc"])
    );
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_its_secret() {
    let server = server().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({ "metadata": { "name": "s" } });
    server.post(secrets, &secret).await;
    let reference = json!({ "kind": "Secret", "apiVersion": "v1", "name": "s" });
    let bound = token(&server, json!({ "boundObjectRef": reference })).await;
    let plain = token(&server, json!({})).await;
    assert!(user(&server, &bound).is_some() && user(&server, &plain).is_some());

    // Another object of the same name is another object.
    server.delete(&format!("{secrets}/s")).await;
    server.post(secrets, &secret).await;
    assert!(user(&server, &bound).is_none() && user(&server, &plain).is_some());
    server.delete(&format!("{ACCOUNTS}/ci")).await;
    let account = json!({ "metadata": { "name": "ci" } });
    server.post(ACCOUNTS, &account).await;
    assert!(user(&server, &plain).is_none());
}

#[tokio::test]
async fn a_foreign_or_changed_token_is_refused() {
    let server = server().await;
    let good = token(&server, json!({})).await;
    let other = token(&server, json!({ "audiences": ["vault"] })).await;
    assert!(
        user(&server, &other).is_none(),
        "it is for another audience"
    );
    let review = json!({ "spec": { "token": other, "audiences": ["vault", "x"] } });
    let reviewed = server
        .post(&format!("{AUTHENTICATION}/tokenreviews"), &review)
        .await;
    assert_eq!(reviewed.body["status"]["audiences"], json!(["vault"]));

    let parts: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIn0";
    let wrong = [
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        format!(
            "{}.{}.{}",
            parts[0],
            other.split('.').nth(1).unwrap(),
            parts[2]
        ),
        format!("{good}A"),
        parts[..2].join("."),
        "a.b.c".to_owned(),
        ".".repeat(100_000),
        String::new(),
    ];
    for token in &wrong {
        assert!(user(&server, token).is_none(), "{token}");
    }
    let elsewhere = token(&self::server().await, json!({})).await;
    assert!(user(&server, &elsewhere).is_none(), "the key is another");
}

#[tokio::test]
async fn a_token_has_its_time() {
    let server = server().await;
    let key = TokenKey::from_pkcs8(&TokenKey::generate().unwrap()).unwrap();
    let view = &*server.api.view;
    let accounts = view.list(crate::objects::Kind::ServiceAccount, Some("default"));
    let request = TokenRequest {
        account: &accounts.items[0],
        audiences: vec!["a".to_owned()],
        life: Duration::from_secs(600),
        secret: None,
    };
    let (token, end) = key.sign(request).unwrap();
    let at = |time| {
        key.verify(&token, &["a"], view, time)
            .map(|(user, _)| user.name)
    };
    assert!(at(end - 1).is_ok());
    assert_eq!(at(end), Err(TokenError::Time));
    assert_eq!(at(end - 700), Err(TokenError::Time));
    assert!(!format!("{key:?}").contains("pair"), "the key is not shown");
}

#[tokio::test]
async fn a_wrong_request_for_a_token_is_refused() {
    let server = server().await;
    let path = format!("{ACCOUNTS}/ci/token");
    let short = json!({ "spec": { "expirationSeconds": 10 } });
    assert_eq!(
        invalid(&server, &path, short).await,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: \
         Invalid value: 10: may not specify a duration less than 10 minutes"
    );
    let name = json!({ "metadata": { "name": "other" }, "spec": {} });
    assert_eq!(
        invalid(&server, &path, name).await,
        "TokenRequest.authentication.k8s.io \"ci\" is invalid: metadata.name: \
         Invalid value: \"other\": must match the service account name if specified"
    );

    let bound = |kind: &str| {
        let reference = json!({ "kind": kind, "apiVersion": "v1", "name": "nope" });
        json!({ "spec": { "boundObjectRef": reference } })
    };
    let absent = server.post(&path, &bound("Secret")).await;
    assert_eq!(absent.body["message"], "secrets \"nope\" not found");
    let other = server.post(&path, &bound("ConfigMap")).await;
    let expected = "cannot bind token to object of type /v1, Kind=ConfigMap";
    assert_eq!(other.body["message"], expected);
    let account = server
        .post(&format!("{ACCOUNTS}/absent/token"), &json!({}))
        .await;
    assert_eq!(
        account.body["message"],
        "serviceaccounts \"absent\" not found"
    );
    assert_eq!(server.get(&path).await.code, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn others_find_the_keys_of_the_tokens() {
    let server = server().await;
    let found = server.get("/.well-known/openid-configuration").await.body;
    assert_eq!(found["issuer"], "https://kubernetes.default.svc");
    let keys = server.get("/openid/v1/jwks").await.body;
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert_eq!(keys["keys"][0]["x"].as_str().unwrap().len(), 43);
}

#[tokio::test]
async fn kinds_that_are_only_created_are_in_discovery() {
    let server = server().await;
    let found = server.get(AUTHENTICATION).await.body;
    let names: Vec<&str> = found["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["selfsubjectreviews", "tokenreviews"]);
    let core = server.get("/api/v1").await.body;
    let token = json!({
        "name": "serviceaccounts/token",
        "singularName": "",
        "namespaced": true,
        "group": "authentication.k8s.io",
        "version": "v1",
        "kind": "TokenRequest",
        "verbs": ["create"],
    });
    assert!(core["resources"].as_array().unwrap().contains(&token));
}
