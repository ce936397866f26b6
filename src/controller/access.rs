//! Makes the decision about who may come in from annotations and the Secrets that they name. What
//! cannot be made refuses every request.

use std::{collections::BTreeSet, sync::Arc};

use http::HeaderValue;

use super::{
    Reason,
    annotations::{AccessValues, AnnotationFinding, CLOSED, LoginValues},
    backends::Backends,
    objects::{Name, Objects},
    secrets,
    users::{self, Form},
};
use crate::{
    objects::EventType,
    routing::{Access, Login, Prefixes, Refusal, Users},
};

/// The result of making a decision.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The decision; `None` if everybody may come in.
    pub(super) access: Option<Arc<Access>>,
    /// The refusal, if there is no valid decision.
    pub(super) refusal: Option<Refusal>,
    /// The Secrets that it depends on, whether they exist or not.
    pub(super) secrets: Vec<Name>,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// A login that annotations ask for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    /// The annotation that names the Secret.
    annotation: String,
    secret: &'a str,
    form: Form,
    realm: &'a str,
}

/// Makes the decision of an object in a namespace.
pub(super) fn make(
    objects: &Objects,
    backends: &mut Backends,
    namespace: &Arc<str>,
    values: &AccessValues,
) -> Made {
    let mut made = Made::default();
    let mut from: BTreeSet<Box<str>> = values.from.iter().cloned().collect();
    let login = match made.asked(values) {
        None => None,
        Some(asked) => {
            from.insert(asked.annotation.as_str().into());
            made.login(objects, backends, namespace, &asked)
        }
    };

    let is_needed = login.is_some() || !values.denied.is_empty() || !values.allowed.is_empty();
    if is_needed && made.refusal.is_none() {
        let from: Vec<Box<str>> = from.into_iter().collect();
        let allowed = values.allowed.iter();
        made.access = Some(
            backends.share_access(Access {
                from: from.join(", ").into(),
                denied: values.denied.iter().copied().collect(),
                allowed: allowed
                    .map(|list| list.iter().copied().collect::<Prefixes>())
                    .collect(),
                login,
                satisfy_any: values.satisfy_any,
                ..Access::default()
            }),
        );
    }
    made
}

impl Made {
    /// Returns the login that the annotations ask for.
    fn asked<'a>(&mut self, values: &'a AccessValues) -> Option<Asked<'a>> {
        let mut asked: Option<Asked<'a>> = None;
        for (prefix, login) in &values.logins {
            let Some(one) = self.asked_under(prefix, login) else {
                continue;
            };
            let same = |other: &Asked<'_>| {
                (other.secret, other.form, other.realm) == (one.secret, one.form, one.realm)
            };
            match &asked {
                Some(other) if !same(other) => {
                    let message = "it differs from the login of another prefix".to_owned();
                    self.refuse(Refusal::InvalidGuard, &one.annotation, message);
                }
                Some(_) => {}
                None => asked = Some(one),
            }
        }
        asked
    }

    /// Returns the login that the annotations of one prefix ask for.
    fn asked_under<'a>(&mut self, prefix: &str, login: &'a LoginValues) -> Option<Asked<'a>> {
        let name = |rest: &str| format!("{prefix}{rest}");
        let kind = login.kind.as_deref();
        let is = |known: &str| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(known));

        // HAProxy Ingress has no `auth-type`.
        let of_haproxy = prefix == "haproxy-ingress.github.io/";
        let is_optional = of_haproxy || prefix == "ingress.kubernetes.io/";
        let of_technologies = matches!(prefix, "haproxy.org/" | "haproxy.com/");
        let is_basic = match kind {
            _ if of_haproxy => true,
            None => is_optional,
            Some(_) if of_technologies => is("basic-auth"),
            Some(_) => is("basic"),
        };

        match (kind, login.secret.as_deref()) {
            (None, None) => None,
            (None, Some(_)) if !is_optional => {
                self.note(&name("auth-secret"), "it has no effect without auth-type");
                None
            }
            (Some(_), None) if of_haproxy => None,
            (Some(kind), _) if !is_basic => {
                let message = format!("{kind:?} is not a kind of login that gatelet supports");
                self.refuse(Refusal::InvalidGuard, &name("auth-type"), message);
                None
            }
            (_, None) => {
                let message = "no auth-secret names its users".to_owned();
                self.refuse(Refusal::UnknownUsers, &name("auth-type"), message);
                None
            }
            (_, Some(secret)) => Some(Asked {
                annotation: name("auth-secret"),
                secret,
                form: match login.form.as_deref() {
                    _ if of_technologies => Form::Map,
                    _ if of_haproxy => Form::FileWithPlain,
                    Some("auth-map") => Form::Map,
                    _ => Form::File,
                },
                realm: login.realm.as_deref().unwrap_or_default(),
            }),
        }
    }

    /// Makes a login, or refuses.
    fn login(
        &mut self,
        objects: &Objects,
        backends: &mut Backends,
        namespace: &Arc<str>,
        asked: &Asked<'_>,
    ) -> Option<Login> {
        let name = match secrets::name(namespace, asked.secret) {
            Ok(name) => name,
            Err((_, message)) => {
                self.refuse(Refusal::InvalidGuard, &asked.annotation, message);
                return None;
            }
        };
        let users = self.users(objects, name, asked)?;

        let realm = asked.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""));
        Some(Login {
            digest_realm: None,
            // The parser has refused control characters.
            challenge: challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"\"")),
            users: backends.share_users(users),
            passes_on: false,
            user_field: None,
        })
    }

    /// Reads the users of a Secret, or refuses.
    fn users(&mut self, objects: &Objects, name: Name, asked: &Asked<'_>) -> Option<Users> {
        self.secrets.push(name.clone());
        let mut refuse = |reason, message| {
            self.report(reason, &asked.annotation, message);
            self.refusal = Some(Refusal::UnknownUsers);
        };
        let secret = &name.1;
        let fact = match secrets::find(objects, &name, "has no users") {
            Ok(fact) => fact,
            Err((reason, message)) => {
                refuse(reason, message + CLOSED);
                return None;
            }
        };

        let list = fact.users.as_ref().map(|raw| users::parse(raw, asked.form));
        let list = list.unwrap_or_default();
        if list.users.is_empty() {
            let place = asked.form.place();
            let message = format!("Secret {secret} has no usable user {place}{CLOSED}");
            refuse(Reason::InvalidSecret, message);
            return None;
        }
        for (user, error) in list.unusable.iter().take(3) {
            let message = format!("user {user:?} of Secret {secret} cannot log in: {error}");
            self.report(Reason::InvalidSecret, &asked.annotation, message);
        }
        Some(list.users)
    }

    fn refuse(&mut self, refusal: Refusal, annotation: &str, message: String) {
        self.report(Reason::InvalidAnnotation, annotation, message + CLOSED);
        self.refusal = Some(refusal);
    }

    fn report(&mut self, reason: Reason, annotation: &str, message: String) {
        let finding = AnnotationFinding::warning(reason, annotation, message);
        self.findings.push(finding);
    }

    fn note(&mut self, annotation: &str, message: &str) {
        self.findings.push(AnnotationFinding {
            severity: EventType::Normal,
            reason: Reason::UnsupportedAnnotation,
            annotation: annotation.into(),
            message: message.to_owned(),
        });
    }
}
