//! Client certificates for users.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::apiserver::authenticate::{Certified, certified};

const HOUR: u64 = 3600;

/// Returns the request for a certificate of a user.
fn request(user: &str, seconds: u64) -> Value {
    let key = KeyPair::generate().unwrap();
    // The request asks for more than it receives.
    let mut params = CertificateParams::new(vec!["api.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, MASTERS);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    json!(ClientCertificateRequest {
        user: user.to_owned(),
        request,
        seconds,
    })
}

#[tokio::test]
async fn a_client_certificate_has_the_user_and_nothing_else() {
    let server = Server::new();
    let response = server
        .post(CLIENT_CERTIFICATES, &request("ann", HOUR))
        .await;
    assert_eq!(response.code, StatusCode::CREATED, "{}", response.body);
    let issued: ClientCertificate = serde_json::from_value(response.body).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let Certified { user, until } = certified(&leaf).unwrap();
    let left = until - crate::util::time::UnixSeconds::now();
    assert!((0..=i64::try_from(HOUR).unwrap()).contains(&left), "{left}");
    assert_eq!(user.name, "ann");
    assert_eq!(user.groups, ["system:authenticated"]);
    assert_eq!(user.extra.len(), 1, "the hash of the certificate");

    let (_rest, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(leaf.subject_alternative_name().unwrap().is_none() && !leaf.is_ca());
}

#[tokio::test]
async fn an_open_connection_does_not_outlive_its_certificate() {
    let server = Server::new();
    let user = User::known("ann", []);
    let now = crate::util::time::UnixSeconds::now();
    let found = |until| {
        let certified = Certified {
            user: user.clone(),
            until,
        };
        let headers = http::HeaderMap::new();
        server.api.authenticate(Some(&certified), &headers)
    };
    assert!(found(now + 60).is_some());
    assert!(found(now - 1).is_none());
}

#[tokio::test]
async fn only_who_may_do_everything_issues_certificates() {
    let server = Server::new();
    let (propose, view) = (&*server.api.propose, &*server.api.view);
    crate::access::ensure_defaults(propose, view).await.unwrap();
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let paths = json!({
        "metadata": { "name": "paths" },
        "rules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    });
    server
        .post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &paths)
        .await;
    for (user, role) in [("root", "cluster-admin"), ("walker", "paths")] {
        let binding = json!({
            "metadata": { "name": user },
            "roleRef": { "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "User", "name": user }],
        });
        assert_eq!(
            server.post(bindings, &binding).await.code,
            StatusCode::CREATED
        );
    }

    let codes = [
        ("root", StatusCode::CREATED),
        ("walker", StatusCode::FORBIDDEN),
        ("nobody", StatusCode::FORBIDDEN),
    ];
    for (user, code) in codes {
        let headers = [("impersonate-user", user)];
        let body = request("ann", HOUR).to_string();
        let response = server
            .send("POST", CLIENT_CERTIFICATES, &headers, &body)
            .await;
        assert_eq!(response.code, code, "{user}: {}", response.body);
    }
}

#[tokio::test]
async fn a_wrong_request_for_a_certificate_is_refused() {
    let server = Server::new();
    let mut damaged = request("ann", HOUR);
    damaged["request"] = "-----BEGIN CERTIFICATE REQUEST-----".into();
    for wrong in [
        request("system:admin", HOUR),
        request("", HOUR),
        request(&"x".repeat(65), HOUR),
        request("a\nb", HOUR),
        request("ann", 0),
        request("ann", u64::MAX),
        damaged,
        json!({}),
    ] {
        let response = server.post(CLIENT_CERTIFICATES, &wrong).await;
        assert_eq!(response.code, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let read = server.get(CLIENT_CERTIFICATES).await;
    assert_eq!(read.code, StatusCode::METHOD_NOT_ALLOWED);
}
