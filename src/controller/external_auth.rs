//! Makes the logins that another server checks from annotations, and from the Services that they
//! name. What cannot be made refuses every request.

use std::{sync::Arc, time::Duration};

use http::Method;

use super::{
    Reason,
    annotations::{AnnotationFinding, CLOSED, ExternalValues, OauthValues},
    backends::Backends,
    config_maps,
    objects::Objects,
    references::References,
    server_url::ServerUrl,
    servers::{self, FoundServer},
};
use crate::routing::{
    Access, AuthCaching, AuthCookieTerms, AuthDialect, AuthFailure, AuthFields, AuthMethod,
    AuthTarget, ExternalAuth, FieldNames, Host, HostPattern, PathMatch, Refusal, Variables,
};

/// The prefix whose controller passes on what the server returns.
const HAPROXY: &str = "haproxy-ingress.github.io/";

/// The times for which responses are remembered, without an annotation.
const DURATIONS: [u16; 3] = [200, 202, 401];
const DURATION: Duration = Duration::from_secs(5 * 60);

/// The result of making logins.
#[derive(Debug, Default)]
pub(super) struct MadeAuths {
    /// All must let a client in.
    pub(super) auths: Vec<MadeAuth>,
    /// The refusal, if one of them is not valid.
    pub(super) refusal: Option<Refusal>,
    /// The objects that they depend on.
    pub(super) references: References,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// A login that another server checks.
#[derive(Clone, Debug)]
pub(super) struct MadeAuth {
    auth: Arc<ExternalAuth>,
    /// The host whose rules are asked on that host itself: a connection to ourselves is saved.
    own_host: Option<Host>,
    /// The beginning of the paths of the server that checks it, which need no login.
    exempts: Option<Box<str>>,
}

impl MadeAuth {
    /// Returns a login, with the host whose rules are asked on that host itself.
    pub(super) fn new(auth: ExternalAuth, own_host: Option<Host>) -> Self {
        Self {
            auth: Arc::new(auth),
            own_host,
            exempts: None,
        }
    }

    /// Returns true if a rule with this path needs no login, because the server that checks it is
    /// behind the path.
    pub(super) fn exempts(&self, path: Option<&PathMatch>) -> bool {
        use PathMatch::{Exact, Prefix, Start};

        let (Some(prefix), None) = (self.exempts.as_deref(), &self.auth.or) else {
            return false;
        };
        let Some(Exact(own) | Prefix(own) | Start(own)) = path else {
            return false;
        };
        let rest = own.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the login with a decision that is enough instead.
    pub(super) fn or(self, access: Option<Arc<Access>>) -> Self {
        Self {
            auth: Arc::new(ExternalAuth {
                or: access,
                ..(*self.auth).clone()
            }),
            ..self
        }
    }

    /// Returns the login on a host; `None` if clients could choose the server by the host that they
    /// send.
    pub(super) fn on(&self, host: &HostPattern) -> Option<Arc<ExternalAuth>> {
        let own = match host {
            HostPattern::Exact(host) => Some(host),
            HostPattern::Wildcard(_) | HostPattern::Any => None,
        };
        if self.auth.to == AuthTarget::OwnHost {
            return own.map(|_| self.auth.clone());
        }

        let is_own = own.is_some() && own == self.own_host.as_ref();
        Some(match is_own {
            true => Arc::new(ExternalAuth {
                to: AuthTarget::OwnHost,
                ..(*self.auth).clone()
            }),
            false => self.auth.clone(),
        })
    }
}

/// Makes the logins of an object in a namespace.
pub(super) fn make<'v>(
    objects: &Objects,
    backends: &mut Backends,
    namespace: &Arc<str>,
    values: impl IntoIterator<Item = (&'v Box<str>, &'v ExternalValues)>,
) -> MadeAuths {
    let mut made = MadeAuths::default();
    for (prefix, values) in values {
        let of_oauth = of_oauth(values);
        let values = of_oauth.as_ref().unwrap_or(values);
        let annotation = format!("{prefix}auth-url");
        let Some(url) = &values.url else {
            let notes = AnnotationFinding::without(&annotation, &values.from);
            made.findings.extend(notes);
            continue;
        };

        let adds = match made.further_fields(objects, namespace, values) {
            Ok(adds) => adds,
            Err((reason, message)) => {
                let annotation = format!("{prefix}auth-proxy-set-headers");
                made.refuse(reason, &annotation, message);
                continue;
            }
        };
        let found = servers::find(
            objects,
            backends,
            &mut made.references,
            namespace,
            &url.server,
        );
        match found {
            Ok(FoundServer { server, own_host }) => {
                let target = AuthTarget::of(server);
                let auth = ExternalAuth {
                    adds,
                    ..auth(prefix, url, target, values)
                };
                let exempts = values.oauth.prefix.clone();
                made.add(auth, own_host, exempts.filter(|_| of_oauth.is_some()));
            }
            Err((reason, message)) => made.refuse(reason, &annotation, message),
        }
    }
    made
}

/// Returns the parts of the login of an oauth2-proxy on the same host; `None` if there is another
/// login, or none.
fn of_oauth(values: &ExternalValues) -> Option<ExternalValues> {
    let oauth = &values.oauth;
    if values.url.is_some() || !oauth.is_on {
        return None;
    }

    let prefix = oauth.prefix.as_deref().unwrap_or("/oauth2");
    let by_default = || FieldNames::of("x-auth-request-email");
    Some(ExternalValues {
        from: values.from.clone(),
        url: ServerUrl::parse(&format!("http://$host{prefix}/auth")).ok(),
        oauth: OauthValues {
            prefix: Some(prefix.into()),
            ..oauth.clone()
        },
        sign_in: Some(format!("{prefix}/start?rd=$escaped_request_uri").into()),
        method: Some(AuthMethod::Fixed(Method::HEAD)),
        copies: Some(oauth.copies.clone().unwrap_or_else(by_default)),
        ..ExternalValues::default()
    })
}

/// Combines the parts of a login.
fn auth(prefix: &str, url: &ServerUrl, to: AuthTarget, values: &ExternalValues) -> ExternalAuth {
    let is_haproxy = prefix == HAPROXY || values.oauth.is_on;
    let passes_on = is_haproxy || values.fails_with.is_some();
    let sign_in = values.sign_in.as_deref();
    let failure = match (sign_in, is_haproxy) {
        (Some(text), true) => Variables::parse(text).ok().map(AuthFailure::SignIn),
        (Some(text), false) => {
            let sign_in = with_redirect(text, values.redirect_param.as_deref());
            Some(AuthFailure::Own {
                sign_in: Variables::parse(&sign_in).ok(),
            })
        }
        (None, _) if passes_on => {
            let names = values.fails_with.clone();
            Some(AuthFailure::PassOn(names.unwrap_or_else(FieldNames::all)))
        }
        (None, _) => None,
    };

    let by_default = match is_haproxy {
        true => FieldNames::all(),
        false => FieldNames::default(),
    };
    let copies = values.copies.clone().unwrap_or(by_default);
    let default_times = || DURATIONS.map(|status| (status, DURATION)).into();
    let mut from = values.from.clone();
    from.sort_unstable();
    from.dedup();
    ExternalAuth {
        from: from.join(", ").into(),
        url: url.text.clone(),
        to,
        target: url.target.clone(),
        method: values
            .method
            .clone()
            .unwrap_or(AuthMethod::Fixed(Method::GET)),
        sends: values.sends.clone().map(Arc::new),
        adds: None,
        dialect: match is_haproxy {
            true => AuthDialect::HaProxy,
            false => AuthDialect::Nginx,
        },
        redirect: values.redirect.clone(),
        copies: Arc::new(copies),
        failure: failure.unwrap_or(AuthFailure::Own { sign_in: None }),
        cookies: match values.always_sets_cookies {
            true => AuthCookieTerms::Always,
            false => AuthCookieTerms::WithSome,
        },
        cache: values.cache_key.clone().map(|key| AuthCaching {
            key,
            durations: values.durations.clone().unwrap_or_else(default_times),
        }),
        or: None,
    }
}

/// Adds the URL of the request to the target of a redirect, unless it has one.
fn with_redirect(sign_in: &str, param: Option<&str>) -> String {
    let param = param.unwrap_or("rd");
    let query = sign_in.split_once('?').map(|(_, query)| query);
    let has_one = query.is_some_and(|query| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.any(|(name, value)| name == param && !value.is_empty())
    });

    let separator = match query {
        _ if has_one => return sign_in.to_owned(),
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    format!("{sign_in}{separator}{param}=$scheme://$http_host$escaped_request_uri")
}

impl MadeAuths {
    /// Returns the further fields for the server: those of a snippet and of a ConfigMap.
    fn further_fields(
        &mut self,
        objects: &Objects,
        namespace: &Arc<str>,
        values: &ExternalValues,
    ) -> Result<Option<Arc<AuthFields>>, (Reason, String)> {
        let sets = values.sets.iter();
        let mut all: Vec<(Box<str>, Variables)> = sets
            .map(|(name, value)| (name.as_str().into(), value.clone()))
            .collect();
        let Some(map) = &values.adds else {
            return Ok((!all.is_empty()).then(|| Arc::new(AuthFields::new(all))));
        };

        let map = config_maps::name(namespace, map)?;
        self.references.config_maps.push(map.clone());

        let fields = config_maps::fields(objects, &map)?.into_iter();
        let fields = fields.map(|(name, text)| {
            let value = Variables::parse(text).map_err(|error| {
                let message = format!("ConfigMap {}: the value of {name}: {error}", map.1);
                (Reason::InvalidConfigMap, message)
            })?;
            Ok((name.as_str().into(), value))
        });
        for field in fields {
            all.push(field?);
        }
        Ok(Some(Arc::new(AuthFields::new(all))))
    }

    /// Adds a login, unless another prefix asks for the same.
    fn add(&mut self, auth: ExternalAuth, own_host: Option<Host>, exempts: Option<Box<str>>) {
        let is_same = |other: &MadeAuth| {
            let unnamed = ExternalAuth {
                from: auth.from.clone(),
                ..(*other.auth).clone()
            };
            unnamed == auth
        };
        if !self.auths.iter().any(is_same) {
            self.auths.push(MadeAuth {
                exempts,
                ..MadeAuth::new(auth, own_host)
            });
        }
    }

    fn refuse(&mut self, reason: Reason, annotation: &str, message: String) {
        self.refusal = Some(Refusal::InvalidGuard);
        let finding = AnnotationFinding::warning(reason, annotation, message + CLOSED);
        self.findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_the_request_is_added_once() {
        const ADDED: &str = "rd=$scheme://$http_host$escaped_request_uri";
        for (text, expected) in [
            ("/start", format!("/start?{ADDED}")),
            ("/start?", format!("/start?{ADDED}")),
            ("/start?a=b", format!("/start?a=b&{ADDED}")),
            ("/start?rd=", format!("/start?rd=&{ADDED}")),
            ("/start?xrd=b", format!("/start?xrd=b&{ADDED}")),
            ("/start?rd=x", "/start?rd=x".to_owned()),
            ("/start?a=b&rd=$uri", "/start?a=b&rd=$uri".to_owned()),
        ] {
            assert_eq!(with_redirect(text, None), expected, "{text}");
        }
        assert!(with_redirect("/start?rd=x", Some("to")).contains("&to=$scheme"));
    }
}
