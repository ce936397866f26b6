//! The verbs get and list.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api,
    request::{Query, ResourceRequest, Target},
    response::{self, Body},
    selector::Selector,
    status::ApiError,
};
use crate::objects::{Key, RawObject, Revision};

impl Api {
    /// Returns the key of an object of the target's kind and namespace.
    pub(crate) fn key(target: &Target, name: &str) -> Key {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        Key {
            kind: target.resource.kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Returns a stored object, or the error that it does not exist.
    pub(crate) fn stored(&self, target: &Target, name: &str) -> Result<Arc<RawObject>, ApiError> {
        self.view
            .get(&Self::key(target, name))
            .ok_or_else(|| ApiError::not_found(target.resource, name))
    }

    /// Reads an object: GET.
    pub(crate) fn read(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
    ) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let object = self.stored(target, name)?;
        Ok(response::object(
            StatusCode::OK,
            target.resource,
            &object.body,
            accept,
        ))
    }

    /// Lists the objects that the selectors match: GET on a collection.
    pub(crate) fn list(&self, request: &ResourceRequest<'_>) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let (query, resource) = (&request.query, target.resource);
        let selector = Selector::parse(
            resource,
            query.text("labelSelector"),
            query.text("fieldSelector"),
        )?;

        let snapshot = self.view.list(resource.kind, target.namespace.as_deref());
        let page = Page::parse(query)?;
        check_version(query, snapshot.revision)?;
        // A continued list is consistent while the history has the first page's revision.
        if let Some(page) = &page.after
            && self.view.watch(resource.kind, page.revision()).is_err()
        {
            return Err(ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue \
                 token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, \
                 modified, or deleted between the time the first chunk was returned and now may \
                 show up in the list.",
            ));
        }

        let start = page.after.as_ref().map(|after| after.start.clone());
        let chosen = snapshot
            .items
            .into_iter()
            .filter(|object| selector.matches(object));
        let mut items: Vec<_> = chosen
            .filter(|object| start.as_ref().is_none_or(|start| position(object) > *start))
            .collect();

        // A later page carries the first page's revision: a watch from there shows the changes
        // since then.
        let revision = page
            .after
            .as_ref()
            .map_or(snapshot.revision, Token::revision);
        let mut metadata = json!({ "resourceVersion": revision.0.to_string() });

        if page.limit > 0 && items.len() > page.limit {
            metadata["remainingItemCount"] = (items.len() - page.limit).into();
            items.truncate(page.limit);
            let start = items.last().map(|last| position(last)).unwrap_or_default();
            metadata["continue"] = Token {
                v: "meta.k8s.io/v1".to_owned(),
                rv: revision.0,
                start,
            }
            .encode()
            .into();
            // With a selector, a real API server does not count the remaining objects.
            if !selector.is_empty() {
                metadata["remainingItemCount"].take();
            }
        }

        Ok(response::encode(
            StatusCode::OK,
            response::list(resource, &items, metadata, accept),
            accept.encoding,
        ))
    }
}

/// The page of a list that is requested: `limit` and `continue`.
struct Page {
    /// The number of objects at most; 0 is unlimited.
    limit: usize,
    after: Option<Token>,
}

/// The token of the next page, in the format of a real API server.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    /// The revision of the first page.
    rv: u64,
    /// The position of the last object of the page before.
    start: String,
}

impl Token {
    fn revision(&self) -> Revision {
        Revision(self.rv)
    }

    fn encode(&self) -> String {
        STANDARD_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Page {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        let limit = query
            .number("limit")
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(0);
        let text = query.text("continue");
        if text.is_empty() {
            return Ok(Self { limit, after: None });
        }

        let bad = |why: &str| {
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };

        let bytes = STANDARD_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(&error.to_string()))?;
        let token = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        Ok(Self {
            limit,
            after: Some(token),
        })
    }
}

/// Returns the place of an object in the order of the list.
fn position(object: &RawObject) -> String {
    format!("{}/{}\0", object.key.namespace, object.key.name)
}

/// Checks `resourceVersion` and `resourceVersionMatch` of a list against the newest revision.
fn check_version(query: &Query, newest: Revision) -> Result<(), ApiError> {
    let (version, matching) = (
        query.text("resourceVersion"),
        query.text("resourceVersionMatch"),
    );
    let forbidden = |message: &str| {
        ApiError::invalid_options(
            "ListOptions",
            "resourceVersionMatch",
            "FieldValueForbidden",
            message,
        )
    };

    if !matching.is_empty() && version.is_empty() {
        return Err(forbidden(
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if !query.text("sendInitialEvents").is_empty() {
        let message = "Forbidden: sendInitialEvents is forbidden for list";
        return Err(ApiError::invalid_options(
            "ListOptions",
            "sendInitialEvents",
            "FieldValueForbidden",
            message,
        ));
    }

    if version.is_empty() {
        return Ok(());
    }
    let Ok(requested) = version.parse::<u64>() else {
        let message = format!(
            "Invalid value: \"{version}\": strconv.ParseUint: parsing \"{version}\": invalid syntax"
        );
        return Err(ApiError::invalid_options(
            "ListOptions",
            "resourceVersion",
            "FieldValueInvalid",
            &message,
        ));
    };

    if requested > newest.0 {
        return Err(ApiError::future(requested, newest.0));
    }
    if matching == "Exact" && requested != newest.0 {
        return Err(ApiError::expired(
            "The resourceVersion for the provided list is too old.",
        ));
    }
    Ok(())
}
