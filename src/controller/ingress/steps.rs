//! Makes the steps of routes from the values of annotations.

use std::{mem, sync::Arc};

use http::{HeaderValue, StatusCode};

use super::fields;
use crate::{
    controller::{
        annotations::{AnnotationValues, CorsValues, ElsewhereValues},
        backends::Backends,
        objects::Objects,
    },
    routing::{
        Cors, Elsewhere, ErrorPages, Location, Mirror, Origins, PathEdit, RequestStep,
        ResponseStep, SetHost, Steps,
    },
};

/// The redirect from HTTP to HTTPS on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Never,
    /// Only while an object has the host under `tls`.
    WithTls,
    Always,
}

impl Redirect {
    /// `covered` is true if the host is under `tls` of the same object.
    pub(super) fn new(enabled: bool, forced: bool, covered: bool) -> Self {
        match (forced, enabled) {
            (true, _) => Self::Always,
            (false, true) if covered => Self::Always,
            (false, true) => Self::WithTls,
            (false, false) => Self::Never,
        }
    }
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
    let redirect = (redirect != Redirect::Never).then(|| RequestStep::HttpsRedirect {
        status: StatusCode::PERMANENT_REDIRECT,
        always: redirect == Redirect::Always,
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

/// Returns the terms for pages of other origins, with the defaults of ingress-nginx.
pub(super) fn cors(values: CorsValues) -> Option<Cors> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS");
    const HEADERS: HeaderValue = HeaderValue::from_static(
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
         Content-Type,Range,Authorization",
    );

    Some(Cors {
        from: values.enabled?,
        origins: values.origins.unwrap_or(Origins::Any),
        credentials: values.credentials.unwrap_or(true),
        methods: values.methods.unwrap_or(METHODS),
        headers: values.headers.unwrap_or(HEADERS),
        expose: values.expose,
        max_age: values.max_age.unwrap_or(1_728_000).into(),
    })
}
