//! Makes the steps of routes from the values of annotations.

use std::{mem, sync::Arc};

use http::{HeaderValue, StatusCode};

use super::fields;
use crate::{
    controller::{
        annotations::{
            AnnotationValues, CorsValues, ElsewhereValues, HttpsValues, StickyAnnotations,
        },
        backends::Backends,
        objects::Objects,
    },
    routing::{
        AllowedList, ClientLimits, Cors, CorsDialect, Elsewhere, ErrorPages, GoPattern, Location,
        Mirror, OriginList, Origins, PathEdit, Policy, RequestStep, ResponseStep, SetHost, Steps,
    },
};

/// The redirect from HTTP to HTTPS on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    scope: RedirectScope,
    status: StatusCode,
    port: Option<u16>,
}

/// The requests that are redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RedirectScope {
    None,
    /// Only while an object has the host under `tls`.
    WithTls,
    All,
}

impl Redirect {
    /// No redirect.
    pub(super) const NEVER: Self = Self {
        scope: RedirectScope::None,
        status: StatusCode::PERMANENT_REDIRECT,
        port: None,
    };

    /// `covered` is true if the host is under `tls` of the same object.
    pub(super) fn new(values: HttpsValues, setting: bool, covered: bool) -> Self {
        let enabled = values.redirect.unwrap_or(setting);
        let scope = match (values.forced, enabled) {
            (true, _) => RedirectScope::All,
            (false, true) if covered => RedirectScope::All,
            (false, true) => RedirectScope::WithTls,
            (false, false) => RedirectScope::None,
        };
        Self {
            scope,
            status: values.status.unwrap_or(Self::NEVER.status),
            port: values.port,
        }
    }
}

/// The changes and terms of the requests that come in.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteTerms {
    /// The redirect from HTTP to HTTPS.
    pub(super) https: HttpsValues,
    /// The steps for those who came in.
    pub(super) inside: Vec<RequestStep>,
    pub(super) cors: Option<Arc<Cors>>,
    pub(super) responses: Responses,
    /// The terms without sticky sessions.
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) sticky: StickyAnnotations,
    /// The limits of each client.
    pub(super) limits: Option<Arc<ClientLimits>>,
    /// The name of an annotation, and the path in place of that of the rule.
    pub(super) swap: Option<(Box<str>, Box<str>)>,
}

/// The changes of responses, and the copies of requests, that annotations ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Responses {
    pub(super) steps: Vec<ResponseStep>,
    /// `Strict-Transport-Security`; `None` if the settings decide.
    pub(super) hsts: Option<Option<HeaderValue>>,
    /// The pages in place of errors.
    pub(super) errors: Option<Arc<ErrorPages>>,
    /// The server that gets copies of requests.
    pub(super) mirror: Option<Arc<Mirror>>,
}

/// Returns the steps of a route. Without `covered` they are inactive until another object puts the
/// host under `tls`.
pub(super) fn steps(
    objects: &Objects,
    backends: &mut Backends,
    redirect: Redirect,
    covered: bool,
    further: impl IntoIterator<Item = RequestStep>,
    cors: Option<Arc<Cors>>,
    responses: Responses,
) -> Option<Arc<Steps>> {
    let is_on = redirect.scope != RedirectScope::None;
    let redirect = is_on.then_some(RequestStep::HttpsRedirect {
        status: redirect.status,
        port: redirect.port,
        always: redirect.scope == RedirectScope::All,
    });

    let of_settings = || {
        let hsts = objects.settings.hsts.as_deref();
        hsts.and_then(|hsts| HeaderValue::from_str(hsts).ok())
    };
    let hsts = responses.hsts.unwrap_or_else(of_settings);
    let hsts = hsts.map(|value| ResponseStep::Hsts {
        value,
        always: covered,
    });

    // Browsers send no login with a preflight request.
    let preflight = cors.clone().map(RequestStep::Preflight);
    backends.share_steps(Steps {
        request: redirect
            .into_iter()
            .chain(preflight)
            .chain(further)
            .collect(),
        response: hsts
            .into_iter()
            .chain(responses.steps)
            .chain(cors.map(ResponseStep::Cors))
            .collect(),
        errors: responses.errors,
        mirror: responses.mirror,
    })
}

/// Returns the steps for those who came in: a redirect of everything, or else of `/`, and `Host`.
pub(super) fn inside(values: &mut AnnotationValues) -> Vec<RequestStep> {
    let ElsewhereValues {
        permanent,
        permanent_code,
        temporal,
        temporal_code,
        other,
        other_code,
        app_root,
    } = mem::take(&mut values.elsewhere);

    let redirect = |found: Option<(Box<str>, Location)>, status: StatusCode, of_root: bool| {
        found.map(|(from, to)| Elsewhere {
            from,
            status,
            to,
            of_root,
        })
    };
    let permanent_code = permanent_code.unwrap_or(StatusCode::MOVED_PERMANENTLY);
    let temporal_code = temporal_code.unwrap_or(StatusCode::FOUND);
    let elsewhere = redirect(temporal, temporal_code, false)
        .or_else(|| redirect(permanent, permanent_code, false))
        .or_else(|| redirect(other, other_code.unwrap_or(StatusCode::FOUND), false))
        .or_else(|| redirect(app_root, StatusCode::FOUND, true));

    let fields = fields::of_requests(values);
    let host = values.host.take();
    let host = host.map(|(from, value)| RequestStep::Host(Arc::new(SetHost { from, value })));
    let elsewhere = elsewhere.map(|one| RequestStep::Elsewhere(Arc::new(one)));
    let rules = mem::take(&mut values.rewrite.rules).into_iter();
    let rules =
        rules.map(|(from, change)| RequestStep::EditPath(Arc::new(PathEdit { from, change })));
    let changes = elsewhere.into_iter().chain(host).chain(fields);
    changes.chain(rules).collect()
}

/// Returns the terms for pages of other origins, with the defaults of the controller that the
/// annotation comes from.
pub(super) fn cors(values: CorsValues) -> Option<Cors> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS");
    const OF_NGINX: HeaderValue = HeaderValue::from_static(
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
         Content-Type,Range,Authorization",
    );
    const OF_INGRESS: HeaderValue = HeaderValue::from_static(
        "DNT,X-CustomHeader,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,\
         Cache-Control,Content-Type,Authorization",
    );
    const ALL: HeaderValue = HeaderValue::from_static("*");

    let (methods, headers, credentials, max_age) = match values.dialect {
        CorsDialect::Nginx => (METHODS, OF_NGINX, true, 1_728_000),
        CorsDialect::HaproxyIngress => (METHODS, OF_INGRESS, true, 86_400),
        CorsDialect::HaproxyTechnologies { .. } => (ALL, ALL, false, 5),
    };
    let dialect = match values.dialect {
        CorsDialect::HaproxyTechnologies { .. } => CorsDialect::HaproxyTechnologies {
            responds: values.responds,
        },
        other => other,
    };

    Some(Cors {
        from: values.enabled?,
        origins: origins(values.origins, values.patterns),
        credentials: values.credentials.unwrap_or(credentials),
        methods: values.methods.unwrap_or(AllowedList::Listed(methods)),
        headers: values.headers.unwrap_or(AllowedList::Listed(headers)),
        expose: values.expose,
        max_age: values.max_age.unwrap_or(max_age).into(),
        dialect,
    })
}

/// Returns the origins: all without a list. Beside expressions `*` has no effect.
fn origins(named: Option<Origins>, patterns: Option<Box<[GoPattern]>>) -> Origins {
    let Some(patterns) = patterns else {
        return named.unwrap_or(Origins::Any);
    };
    let named = match named {
        Some(Origins::Listed(list)) => list.named,
        Some(Origins::Any) | None => [].into(),
    };
    Origins::Listed(OriginList { named, patterns })
}
