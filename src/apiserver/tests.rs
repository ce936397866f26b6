use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{response::Body, *};
use crate::{
    access::{MASTERS, User},
    cluster::Local,
    util::drain::{self, Signal},
};

mod absent;
mod access;
mod audit;
mod certificates;
mod deletions;
mod garbage;
mod listener;
mod reads;
mod reviews;
mod root_ca;
mod units;
mod watches;
mod writes;

/// The API over a cluster in memory, without a network.
struct Server {
    api: Arc<Api>,
    /// The user that requests come from.
    user: User,
    _signal: Signal,
}

/// A response: its code, its body and its warnings.
struct TestResponse {
    code: StatusCode,
    body: Value,
    warnings: Vec<String>,
}

impl Server {
    fn new() -> Self {
        let cluster = Arc::new(Local::in_memory().unwrap());
        let (signal, drain) = drain::channel();
        let watches = Arc::new(Semaphore::new(4));
        let (identity, _new) = Identity::load(None, &[]).unwrap();
        let auth = identity.auth().unwrap();
        let api = Arc::new(Api::new(cluster.clone(), cluster, auth, watches, drain));
        Self {
            api,
            user: User::known("admin", [MASTERS.to_owned()]),
            _signal: signal,
        }
    }

    async fn respond(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::from(body.to_owned());
        self.api.handle(self.user.clone(), &head, body).await
    }

    async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TestResponse {
        let response = self.respond(method, uri, headers, body).await;
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();

        let code = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        TestResponse {
            code,
            body,
            warnings,
        }
    }

    async fn get(&self, uri: &str) -> TestResponse {
        self.send("GET", uri, &[], "").await
    }

    async fn post(&self, uri: &str, body: &Value) -> TestResponse {
        self.send(
            "POST",
            uri,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    async fn put(&self, uri: &str, body: &Value) -> TestResponse {
        self.send(
            "PUT",
            uri,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    async fn merge(&self, uri: &str, body: &Value) -> TestResponse {
        self.send(
            "PATCH",
            uri,
            &[("content-type", "application/merge-patch+json")],
            &body.to_string(),
        )
        .await
    }

    async fn delete(&self, uri: &str) -> TestResponse {
        self.send("DELETE", uri, &[], "").await
    }

    async fn watch(&self, uri: &str) -> Lines {
        let response = self.respond("GET", uri, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }
}

/// The events of a watch.
struct Lines {
    body: Body,
    rest: Vec<u8>,
}

impl Lines {
    /// Returns the type and object of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).unwrap();
                return Some((
                    event["type"].as_str().unwrap().to_owned(),
                    event["object"].take(),
                ));
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame())
                .await
                .unwrap()?
                .unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name },
        "data": { "a": "b" },
    })
}

fn ingress(name: &str) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name },
        "spec": { "rules": [{ "host": "a.example", "http": { "paths": [path] } }] },
    })
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}
