//! Kinds that are created and never stored: the reviews of users, tokens and actions, and tokens of
//! ServiceAccounts.

use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use serde_json::{Value, json};

use super::{
    Api, admit,
    request::{Accept, Query, Shape, content_type},
    response::{self, Body},
    schema,
    status::ApiError,
    validate::FieldError,
    write::FieldValidation,
};
use crate::{
    access::{Action, ISSUER, ResourceAction, Rule, User},
    util::stamp,
};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// A kind that is created and never stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Created {
    /// The API group of the path; empty for the core group.
    pub(super) group: &'static str,
    /// The plural in the path; with a subresource for tokens.
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) kind: &'static str,
    /// The API group of the kind.
    pub(super) kind_group: &'static str,
    pub(super) namespaced: bool,
    review: Review,
}

impl Created {
    /// Returns group and version of the kind.
    pub(super) fn api_version(&self) -> &'static str {
        match self.kind_group {
            AUTHENTICATION => "authentication.k8s.io/v1",
            _ => "authorization.k8s.io/v1",
        }
    }
}

/// The handler of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Review {
    Own,
    Token,
    OwnAction,
    Action,
    LocalAction,
    OwnRules,
    NewToken,
}

const BASE: Created = Created {
    group: AUTHORIZATION,
    plural: "",
    singular: "",
    kind: "",
    kind_group: AUTHORIZATION,
    namespaced: false,
    review: Review::Own,
};

/// Every kind that is created only, in the order of discovery.
pub(super) static CREATED: [Created; 7] = [
    Created {
        group: "",
        plural: "serviceaccounts/token",
        kind: "TokenRequest",
        kind_group: AUTHENTICATION,
        namespaced: true,
        review: Review::NewToken,
        ..BASE
    },
    Created {
        group: AUTHENTICATION,
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        kind_group: AUTHENTICATION,
        ..BASE
    },
    Created {
        group: AUTHENTICATION,
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        kind_group: AUTHENTICATION,
        review: Review::Token,
        ..BASE
    },
    Created {
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        review: Review::LocalAction,
        ..BASE
    },
    Created {
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        review: Review::OwnAction,
        ..BASE
    },
    Created {
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        review: Review::OwnRules,
        ..BASE
    },
    Created {
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        review: Review::Action,
        ..BASE
    },
];

/// A request to create an object of such a kind.
pub(super) struct Creation<'r> {
    pub(super) user: &'r User,
    /// The namespace of the path; empty for none.
    pub(super) namespace: String,
    /// The name in the path: that of the ServiceAccount of a token.
    pub(super) name: String,
    /// The object of the body.
    pub(super) object: Value,
}

/// Returns the kind that a path names, with its namespace and name. The segments are those behind
/// the version.
pub(super) fn find<'s>(
    group: &str,
    segments: &[&'s str],
) -> Option<(&'static Created, &'s str, &'s str)> {
    let (namespace, name, plural) = match segments {
        [
            "namespaces",
            namespace,
            resource @ "serviceaccounts",
            name,
            "token",
        ] => (*namespace, *name, format!("{resource}/token")),
        ["namespaces", namespace, plural] => (*namespace, "", (*plural).to_owned()),
        [plural] => ("", "", (*plural).to_owned()),
        _ => return None,
    };

    let created = CREATED
        .iter()
        .find(|one| one.group == group && one.plural == plural)?;
    let is_whole = created.namespaced != namespace.is_empty();
    is_whole.then_some((created, namespace, name))
}

impl Api {
    /// Creates an object that is not stored: POST.
    pub(super) fn create_only(
        &self,
        created: &'static Created,
        user: &User,
        head: &Parts,
        (namespace, name): (&str, &str),
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        if head.method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }

        let accept = Accept::parse(&head.headers, true)?;
        if matches!(accept.shape, Shape::Table(_)) {
            return Err(ApiError::no_table());
        }
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let _nothing_is_stored_anyway = query.dry_run("CreateOptions")?;
        let validation = FieldValidation::parse(&query, "CreateOptions")?;
        let mut warnings = Vec::new();
        let object = decode(created, validation, &head.headers, body, &mut warnings)?;
        let mut creation = Creation {
            user,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            object,
        };
        creation.complete(created)?;

        let object = match created.review {
            Review::Own => own(&creation),
            Review::Token => self.review_token(creation)?,
            Review::OwnAction => self.review_action(creation, false)?,
            Review::Action | Review::LocalAction => self.review_action(creation, true)?,
            Review::OwnRules => self.review_rules(&creation)?,
            Review::NewToken => self.new_token(creation)?,
        };

        let body = object.to_string();
        let mut response = response::encode(StatusCode::CREATED, body.into(), accept.encoding);
        response::warn(&mut response, &warnings);
        Ok(response)
    }

    /// Reviews an action: of the user that the object names, or of the requesting one.
    fn review_action(&self, creation: Creation<'_>, named: bool) -> Result<Value, ApiError> {
        let problems = creation.problems(named);
        if !problems.is_empty() {
            return Err(ApiError::invalid_review(&problems));
        }

        let spec = &creation.object["spec"];
        let user = match named {
            true => subject(spec),
            false => creation.user.clone(),
        };

        let decision = self.index.decide(&user, &action(spec));
        let mut status = json!({ "allowed": decision.allowed });
        if !decision.reason.is_empty() {
            status["reason"] = decision.reason.into();
        }

        let mut object = creation.object;
        object["status"] = status;
        Ok(object)
    }

    /// Lists the rules of the requesting user.
    fn review_rules(&self, creation: &Creation<'_>) -> Result<Value, ApiError> {
        let namespace = admit::text(&creation.object, "/spec/namespace");
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }

        let (rules, error) = self.index.rules_of(creation.user, namespace);
        let (paths, resources): (Vec<Rule>, Vec<Rule>) = rules
            .into_iter()
            .partition(|rule| rule.resources.is_empty());
        let mut status = json!({
            "resourceRules": resources,
            "nonResourceRules": paths,
            "incomplete": false,
        });
        if let Some(error) = error {
            status["evaluationError"] = error.into();
        }

        let mut object = creation.object.clone();
        // A real API server does not return the namespace.
        object["spec"] = json!({});
        object["status"] = status;
        Ok(object)
    }

    /// Reviews a token.
    fn review_token(&self, creation: Creation<'_>) -> Result<Value, ApiError> {
        let mut object = creation.object;
        let token = admit::text(&object, "/spec/token");
        if token.is_empty() {
            let why = "token is required for TokenReview in authentication";
            return Err(ApiError::bad_request(why));
        }

        let audiences = object.pointer("/spec/audiences").and_then(Value::as_array);
        let audiences: Vec<&str> = audiences
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let audiences = if audiences.is_empty() {
            vec![ISSUER]
        } else {
            audiences
        };
        object["status"] = match self.user_of_token(token, &audiences) {
            Some((user, audiences)) => json!({
                "authenticated": true,
                "user": user_info(&user),
                "audiences": audiences,
            }),
            None => json!({ "user": {}, "error": "invalid bearer token" }),
        };
        Ok(object)
    }
}

impl Creation<'_> {
    /// Sets kind and namespace as in the path. Refuses an object of another namespace.
    fn complete(&mut self, created: &Created) -> Result<(), ApiError> {
        let object = &mut self.object;
        object["apiVersion"] = created.api_version().into();
        object["kind"] = created.kind.into();
        let metadata = &mut object["metadata"];
        if metadata.is_null() {
            *metadata = json!({});
        }

        let found = metadata["namespace"].as_str().unwrap_or_default();
        if !found.is_empty() && found != self.namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match \
                 the namespace sent on the request",
            ));
        }
        if let Some(members) = metadata.as_object_mut() {
            members.remove("managedFields");
            if !self.namespace.is_empty() {
                members.insert("namespace".to_owned(), self.namespace.clone().into());
            }
            members.retain(|_name, value| !value.is_null());
        }
        Ok(())
    }

    /// Returns the problems of a review of an action (pkg/apis/authorization/validation).
    fn problems(&self, named: bool) -> Vec<FieldError> {
        let invalid = |field: &str, value: &Value, why: &str| FieldError {
            field: field.to_owned(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
        };
        let spec = &self.object["spec"];
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        // Go names the fields of its internal type here.
        let shown = json!({
            "Path": admit::text(path, "/path"),
            "Verb": admit::text(path, "/verb"),
        });

        let mut problems = Vec::new();
        if !resource.is_null() && !path.is_null() {
            let why = "cannot be specified in combination with resourceAttributes";
            problems.push(invalid("spec.nonResourceAttributes", &shown, why));
        }
        if resource.is_null() && path.is_null() {
            let why = "exactly one of nonResourceAttributes or resourceAttributes \
                       must be specified";
            problems.push(invalid("spec.resourceAttributes", &Value::Null, why));
        }

        let groups = spec["groups"].as_array().is_some_and(|all| !all.is_empty());
        if named && admit::text(spec, "/user").is_empty() && !groups {
            let why = "at least one of user or group must be specified";
            problems.push(invalid("spec.user", &"".into(), why));
        }
        let namespace = admit::text(resource, "/namespace");
        if !resource.is_null() && !self.namespace.is_empty() && namespace != self.namespace {
            let why = "must match metadata.namespace";
            let field = "spec.resourceAttributes.namespace";
            problems.push(invalid(field, &namespace.into(), why));
        }
        if !self.namespace.is_empty() && !path.is_null() {
            let why = "disallowed on this kind of request";
            problems.push(invalid("spec.nonResourceAttributes", &shown, why));
        }

        let metadata = &self.object["metadata"];
        let mut rest = metadata.as_object().cloned().unwrap_or_default();
        rest.remove("namespace");
        if !rest.is_empty() {
            problems.push(invalid("metadata", metadata, "must be empty"));
        }
        problems
    }
}

fn decode(
    created: &Created,
    validation: FieldValidation,
    headers: &HeaderMap,
    body: &[u8],
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let (kind, api_version) = (created.kind, created.api_version());
    let decoded = schema::decode_kind(kind, api_version, content_type(headers)?, body)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    validation.check(decoded, warnings).map_err(|why| {
        ApiError::bad_request(format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: {why}"
        ))
    })
}

/// Says who the requesting user is.
fn own(creation: &Creation<'_>) -> Value {
    json!({
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "creationTimestamp": stamp::now() },
        "status": { "userInfo": user_info(creation.user) },
    })
}

/// Returns a user as `authentication.k8s.io/v1` UserInfo.
fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        info["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// Returns the user that a review names.
fn subject(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten();
    User {
        name: admit::text(spec, "/user").to_owned(),
        uid: admit::text(spec, "/uid").to_owned(),
        groups: groups
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect(),
        ..User::default()
    }
}

/// Returns the action that a review names.
fn action(spec: &Value) -> Action {
    let resource = &spec["resourceAttributes"];
    if resource.is_null() {
        let path = &spec["nonResourceAttributes"];
        return Action::Path {
            verb: admit::text(path, "/verb").to_owned(),
            path: admit::text(path, "/path").to_owned(),
        };
    }

    let text = |pointer: &str| admit::text(resource, pointer).to_owned();
    Action::Resource(ResourceAction {
        verb: text("/verb"),
        group: text("/group"),
        resource: text("/resource"),
        subresource: text("/subresource"),
        namespace: text("/namespace"),
        name: text("/name"),
    })
}
