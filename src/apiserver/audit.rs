//! The audit log of the API: a line for each write of a known user, in the form of a real API
//! server (`audit.k8s.io/v1` Event of the level Metadata). It has no bodies, and so no secrets.

use std::net::SocketAddr;

use http::{HeaderMap, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::response::Body;
use crate::{
    access::{Action, User},
    util::stamp,
};

/// The longest text of a client in a line, in bytes.
const LONGEST: usize = 1024;

/// The address of a client, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The name of a created object, as an extension of the response: its path does not have the name,
/// and its body has it in the form that the client prefers.
#[derive(Clone, Debug)]
pub(super) struct CreatedName(pub(super) String);

/// The part of a line that is known when the request arrives.
#[derive(Debug)]
pub(super) struct Entry {
    line: Value,
}

impl Entry {
    /// Begins the line of a write; returns `None` for a request that only reads.
    pub(super) fn begin(user: &User, head: &Parts, action: &Action) -> Option<Self> {
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method) {
            return None;
        }

        let verb = match action {
            // A review changes nothing, but a new token does.
            Action::Resource(action) if action.resource.ends_with("reviews") => return None,
            Action::Resource(action) => &action.verb,
            Action::Path { verb, .. } => verb,
        };
        let mut line = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": stamp::uid(),
            "stage": "ResponseComplete",
            "requestURI": cut(&head.uri.to_string()),
            "verb": verb,
            "user": { "username": user.name, "groups": user.groups },
            "userAgent": text(&head.headers, header::USER_AGENT.as_str()),
            "requestReceivedTimestamp": now(),
        });
        if !user.uid.is_empty() {
            line["user"]["uid"] = user.uid.as_str().into();
        }
        if let Some(Peer(peer)) = head.extensions.get::<Peer>() {
            line["sourceIPs"] = json!([peer.ip()]);
        }

        let impersonated = text(&head.headers, "impersonate-user");
        if !impersonated.is_empty() {
            let groups = head.headers.get_all("impersonate-group").iter();
            let groups: Vec<String> = groups
                .map(|group| cut(&String::from_utf8_lossy(group.as_bytes())))
                .collect();
            line["impersonatedUser"] = json!({ "username": impersonated, "groups": groups });
        }
        if let Action::Resource(action) = action {
            line["objectRef"] = json!({
                "resource": cut(&action.resource),
                "subresource": cut(&action.subresource),
                "namespace": cut(&action.namespace),
                "name": cut(&action.name),
                "apiGroup": cut(&action.group),
            });
        }
        Some(Self { line })
    }

    /// Returns the line, with the verdict of the response.
    pub(super) fn finish(mut self, response: &Response<Body>) -> String {
        let code = response.status();
        if let Some(CreatedName(name)) = response.extensions().get() {
            self.line["objectRef"]["name"] = name.as_str().into();
        }
        // A real API server leaves out what is empty.
        if let Some(members) = self.line["objectRef"].as_object_mut() {
            members.retain(|_name, value| *value != "");
        }

        self.line["responseStatus"] = json!({ "metadata": {}, "code": code.as_u16() });
        self.line["stageTimestamp"] = now().into();
        let decision = match code {
            StatusCode::FORBIDDEN => "forbid",
            _ => "allow",
        };
        self.line["annotations"] = json!({ "authorization.k8s.io/decision": decision });
        self.line.to_string()
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    cut(&value.unwrap_or_default())
}

/// Cuts a text of a client to the longest length.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

/// Returns the time as audit lines have it, with microseconds.
fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
