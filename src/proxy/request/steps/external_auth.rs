//! Admits requests whose login another server confirms. Every response other than 2xx refuses the
//! request, and so does a server that cannot be asked.

use std::{
    rc::Rc,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use http::StatusCode;

use super::{
    Passing, Scheme, access, conditional,
    variables::{fill, uri},
};
use crate::{
    proxy::{
        auth_cache::Verdict,
        request::{
            access_log::Record,
            client_certificates,
            error::{Error, Kind},
            fields::{Field, FieldName, Fields, elements},
            handle::{self, Response},
            headers::{Changes, Replaced, named},
            message::ResponseHead,
            terms::Terms,
        },
        upstream::forward::forward,
    },
    routing::{
        Access, Action, AddressVerdict, AuthCaching, AuthDialect, AuthFailure, AuthFields,
        AuthMethod, AuthTarget, Backend, Entry, ExternalAuth, FieldNames, RequestStep, RequestUrl,
        Rewritten, Route, Variables, path,
    },
};

/// The fields that the server gets from us alone, as with Traefik.
static OURS_LIKE_TRAEFIK: LazyLock<Arc<FieldNames>> = LazyLock::new(|| {
    let names = FieldNames::parse("x-forwarded-method,x-forwarded-uri");
    Arc::new(names.unwrap_or_default())
});
/// The fields that the server gets from us alone.
static OURS: LazyLock<Arc<FieldNames>> = LazyLock::new(|| names("x-forwarded-uri"));
/// The same without the scheme of the request.
static OURS_WITHOUT_SCHEME: LazyLock<Arc<FieldNames>> =
    LazyLock::new(|| names("x-forwarded-uri,x-forwarded-proto"));

fn names(more: &str) -> Arc<FieldNames> {
    let text = format!(
        "x-original-url,x-original-uri,x-original-method,x-sent-from,x-auth-request-redirect,\
         x-forwarded-method,{more}"
    );
    Arc::new(FieldNames::parse(&text).unwrap_or_default())
}

/// Fields of a response that are about it, and mean something else in a request.
const OF_RESPONSES: &[&str] = &[
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "www-authenticate",
];

/// Lets the request pass, or returns the response that refuses it.
///
/// # Errors
/// 401 and 403 as the server says, 500 if it cannot be asked.
pub(super) async fn enter(
    request: &mut Passing<'_>,
    auth: &ExternalAuth,
    record: Option<&mut Record>,
) -> Result<Option<Response>, Error> {
    let or = auth.or.as_deref();
    if let Some(access) = or
        && is_let_in(request, access).await?
    {
        return Ok(None);
    }

    let name = auth.cache.as_ref().and_then(|cache| {
        let key = fill(request, &cache.key);
        (!key.is_empty()).then(|| cache_name(request, auth, &key))
    });
    if let Some(name) = &name {
        let mut known = request.worker.auth_cache.borrow_mut();
        if let Some(verdict) = known.find(name, Instant::now()) {
            drop(known);
            return conclude(request, auth, &verdict, record);
        }
    }

    let response = match ask(request, auth).await {
        Ok(response) => response,
        Err(error) => return unanswered(request, auth, error, record),
    };

    let is_success = response.head.status.is_success();
    if !is_success && let AuthFailure::PassOn(names) = &auth.failure {
        return Ok(Some(pass_on(response, names)));
    }

    let verdict = Rc::new(Verdict {
        status: response.head.status,
        fields: match is_success {
            true => copied(&auth.copies, auth.dialect, &response.head.fields),
            false => challenges(&response.head.fields),
        },
    });

    let cookies = named_values(&response.head.fields, b"set-cookie");
    let lasts = auth.cache.as_ref();
    let lasts = lasts.and_then(|cache| lasts_for(cache, &response.head));
    if is_success && response.body.discard().await.is_err() {
        let broken = failed("the response of the server that checks logins is incomplete");
        return unanswered(request, auth, broken, record);
    }

    if let (Some(name), Some(lasts)) = (name, lasts) {
        let mut known = request.worker.auth_cache.borrow_mut();
        known.remember(name, Instant::now(), lasts, verdict.clone());
    }

    request.cookies.keep(&auth.cookies, cookies);
    conclude(request, auth, &verdict, record)
}

/// Reports whether the decision that is enough instead lets the client in.
async fn is_let_in(request: &mut Passing<'_>, access: &Access) -> Result<bool, Error> {
    request.changes.hides_authorization |= access.login.is_some();
    let address = access.judge(request.client());
    if address == AddressVerdict::Allowed {
        return Ok(true);
    }
    match &access.login {
        Some(login) => access::is_logged_in(request, login).await,
        None => Ok(false),
    }
}

/// Lets the request pass, or returns the response that the server's verdict leads to.
fn conclude(
    request: &mut Passing<'_>,
    auth: &ExternalAuth,
    verdict: &Verdict,
    record: Option<&mut Record>,
) -> Result<Option<Response>, Error> {
    if verdict.status.is_success() {
        // Fields that steps before this one set are the client's for it.
        let changes = &mut request.changes;
        changes.set.retain(|field| {
            auth.copies.is_all() || !auth.copies.has(field.name.as_str().as_bytes())
        });
        changes.replaced.push(Replaced {
            names: auth.copies.clone(),
            fields: verdict.fields.clone(),
        });
        return Ok(None);
    }

    let error = match verdict.status {
        StatusCode::UNAUTHORIZED => Error::client(Kind::Unauthorized),
        StatusCode::FORBIDDEN => Error::client(Kind::Forbidden),
        _ => failed("the server that checks logins returned neither 2xx nor 401 or 403"),
    };

    let sign_in = match &auth.failure {
        AuthFailure::Own { sign_in } => {
            let is_asked = error.kind == Kind::Unauthorized;
            sign_in.as_ref().filter(|_| is_asked)
        }
        AuthFailure::SignIn(sign_in) => Some(sign_in),
        AuthFailure::PassOn(_) => None,
    };
    if let Some(sign_in) = sign_in {
        return redirect(request, sign_in).map(Some);
    }

    let (worker, fields) = (request.worker, &request.head.fields);
    let mut response = handle::fail(worker, error, fields, record);
    let login = auth.or.as_ref().and_then(|access| access.login.as_ref());
    if error.kind == Kind::Unauthorized {
        for field in verdict.fields.iter() {
            response.head.fields.push(field.name, field.value);
        }
        if let Some(login) = login {
            let challenge = login.challenge.as_bytes();
            response.head.fields.push(b"www-authenticate", challenge);
        }
    }
    Ok(Some(response))
}

/// Returns the response to a client for whom the server could not be asked.
fn unanswered(
    request: &Passing<'_>,
    auth: &ExternalAuth,
    error: Error,
    record: Option<&mut Record>,
) -> Result<Option<Response>, Error> {
    let AuthFailure::SignIn(sign_in) = &auth.failure else {
        return Err(error);
    };
    handle::fail(request.worker, error, &request.head.fields, record);
    redirect(request, sign_in).map(Some)
}

/// Returns the redirect to a login.
fn redirect(request: &Passing<'_>, to: &Variables) -> Result<Response, Error> {
    let url = request.url()?;
    let mut location = uri(&fill(request, to), true);
    if location.starts_with('/') {
        location.insert_str(0, &url.origin());
    }
    let mut response = Response::redirect(StatusCode::FOUND, &location);
    response.head.fields.set("cache-control", b"no-store");
    Ok(response)
}

/// Returns the response of the server with the fields that its client may see.
fn pass_on(mut response: Response, names: &FieldNames) -> Response {
    let fields = &mut response.head.fields;
    fields.retain(|field| field.id == FieldName::ContentLength || names.has(field.name));
    response
}

fn failed(why: &'static str) -> Error {
    Error::us(Kind::LoginUnchecked(why))
}

// === The request ===

/// Asks the server.
///
/// # Errors
/// 500 if it does not respond in time, or in a way that is not HTTP; 400 for a request without a
/// host.
async fn ask(request: &Passing<'_>, auth: &ExternalAuth) -> Result<Response, Error> {
    let host = request.url()?.host;
    let target = uri(&fill(request, &auth.target), false);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*target, None),
    };

    // The fields about a certificate come first, so that no others replace them.
    let mut replaced: Vec<Replaced> = client_certificates::fields_of(request)
        .into_iter()
        .collect();
    replaced.push(about(request, auth));
    let mut changes = Changes {
        only: auth.sends.clone(),
        replaced,
        ..Changes::default()
    };
    if let AuthDialect::Traefik { hides_prefix } = auth.dialect {
        changes.add(&request.changes);
        if hides_prefix {
            changes
                .set
                .retain(|field| field.name != "x-forwarded-prefix");
        }
    }

    if let Some(adds) = &auth.adds {
        changes.replaced.push(further(request, adds));
    }

    let (worker, conn) = (request.worker, request.conn);
    let (mut path, mut query) = (path.to_owned(), query.map(str::to_owned));
    let (route, backend);
    let backend: &Arc<Backend> = match &auth.to {
        AuthTarget::Server(server) => {
            changes.host = Some(server.authority.clone());
            &server.backend.0
        }
        AuthTarget::OwnHost => {
            path = match path::normalize(&path) {
                Ok(path) => path.into_owned(),
                Err(_why) => return Err(failed("the path of the login is not valid")),
            };
            route = own_route(request, host, &path)?;
            through(request, &route, (&mut path, &mut query), &mut changes)?;
            backend = own_backend(request, &route)?;
            &backend
        }
    };

    let method = match &auth.method {
        AuthMethod::Fixed(method) => method,
        AuthMethod::OfRequest => &request.head.method,
    };
    let head = request.head.without_body(method.clone());

    let terms = Terms::beside(&worker.settings, request.route.policy.as_deref(), backend);
    let matched = request.beside(backend, terms, (&path, query.as_deref()), changes);

    let asked = forward(worker, conn, matched, &head, None).await;
    let (response, _endpoint) = asked.map_err(|error| {
        tracing::debug!(%error, "the server that checks logins was not asked");
        failed("the server that checks logins does not respond")
    })?;
    Ok(response)
}

/// Returns the fields that the server gets from us about a request.
fn about(request: &Passing<'_>, auth: &ExternalAuth) -> Replaced {
    let method = request.head.method.as_str().as_bytes();
    if matches!(auth.dialect, AuthDialect::Traefik { .. }) {
        return about_like_traefik(request, method);
    }

    let path = path::matched(request.path);
    let mut target = String::new();
    let url = RequestUrl {
        path: &path,
        ..request.any_url()
    };
    url.push_target(&mut target);

    let mut fields = Fields::default();
    let scheme = if url.https { "https://" } else { "http://" };
    let whole = [scheme.as_bytes(), request.target.host, target.as_bytes()].concat();
    fields.push(b"x-original-url", &whole);
    fields.push(b"x-original-uri", target.as_bytes());
    fields.push(b"x-original-method", method);
    fields.push(b"x-forwarded-method", method);
    fields.push(b"x-sent-from", b"gatelet");

    let redirect = match &auth.redirect {
        Some(redirect) => fill(request, redirect),
        None => target.into_bytes(),
    };
    fields.push(b"x-auth-request-redirect", &redirect);

    let names = match auth.dialect {
        AuthDialect::Nginx => &*OURS_WITHOUT_SCHEME,
        AuthDialect::HaProxy | AuthDialect::Traefik { .. } => &*OURS,
    };
    Replaced {
        names: names.clone(),
        fields,
    }
}

/// Returns the further fields for the server.
fn further(request: &Passing<'_>, adds: &AuthFields) -> Replaced {
    let mut fields = Fields::default();
    for (name, value) in &adds.values {
        let value = fill(request, value);
        if !value.is_empty() {
            fields.push(name.as_bytes(), &value);
        }
    }
    Replaced {
        names: adds.names.clone(),
        fields,
    }
}

/// Returns the same as Traefik has it: the request as the steps before this one left it.
fn about_like_traefik(request: &Passing<'_>, method: &[u8]) -> Replaced {
    let (path, query) = request.for_backend();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut fields = Fields::default();
    fields.push(b"x-forwarded-method", method);
    fields.push(b"x-forwarded-uri", format!("{path}{query}").as_bytes());
    Replaced {
        names: OURS_LIKE_TRAEFIK.clone(),
        fields,
    }
}

// === The rule of the same host ===

/// Returns the route of the host of a request that has a path.
fn own_route(request: &Passing<'_>, host: &str, path: &str) -> Result<Arc<Route>, Error> {
    let table = request.worker.shared.table.load();
    let found = table.find(Some(host), &path::matched(path), request.head);
    let found = found.ok_or_else(|| failed("no rule has the path of the login"))?;
    Ok(found.route.clone())
}

/// Takes the steps of the rule that change a request. One that could refuse it, or that asks
/// another server in its turn, is an error.
fn through(
    request: &Passing<'_>,
    route: &Route,
    (path, query): (&mut String, &mut Option<String>),
    changes: &mut Changes,
) -> Result<(), Error> {
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    for step in steps {
        match step {
            RequestStep::HttpsRedirect { .. }
            | RequestStep::Preflight(_)
            | RequestStep::OriginPreflight(_)
            | RequestStep::CertificateFields(_)
            | RequestStep::CircuitBreaker(_)
            | RequestStep::Errors(_)
            | RequestStep::GrpcWeb(_)
            | RequestStep::Limit(_) => {}
            RequestStep::Access(access)
                if access.depth.is_none()
                    && matches!(access.entry(request.client()), Entry::Open) => {}
            // As the redirect of annotations: the connection is our own.
            RequestStep::RedirectUrl(to) if to.leads_to_https() => {}
            RequestStep::Elsewhere(to) if to.of_root && path != "/" => {}
            RequestStep::Host(host) => changes.host = Some(host.value.clone()),
            RequestStep::RemoveField(field) => changes.remove(&field.name),
            RequestStep::SetField(field) => changes.set(field.clone()),
            RequestStep::AddField(field) => changes.added.push(field.clone()),
            RequestStep::SetText(field) => changes.set_text(field, &fill(request, &field.value)),
            RequestStep::Conditional(one) if !conditional::holds(request, path, one) => {}
            RequestStep::EncodedCharacters(terms) if terms.find(path).is_none() => {}
            RequestStep::Rewrite(to) => {
                let url = RequestUrl {
                    path,
                    query: query.as_deref(),
                    ..request.any_url()
                };
                match to.apply(&path::matched(path), url) {
                    Ok(Rewritten::Path {
                        path: to,
                        query: with,
                    }) => (*path, *query) = (to, with),
                    Ok(Rewritten::Url(_)) | Err(_) => {
                        return Err(failed("the rule of the login leads to another URL"));
                    }
                }
            }
            RequestStep::EditPath(to) => match to.apply(&path::matched(path)) {
                Ok(Some(edited)) => *path = edited.path,
                Ok(None) => {}
                Err(_) => return Err(failed("the path of the login is not valid")),
            },
            RequestStep::ExternalAuth(_) => {
                return Err(failed("the rule of the login asks for a login itself"));
            }
            RequestStep::OnlyPlain
            | RequestStep::Conditional(_)
            | RequestStep::EncodedCharacters(_)
            | RequestStep::Access(_)
            | RequestStep::RedirectUrl(_)
            | RequestStep::Elsewhere(_) => {
                return Err(failed("the rule of the login does not let this client in"));
            }
        }
    }
    Ok(())
}

/// Chooses the backend of the rule.
fn own_backend(request: &Passing<'_>, route: &Route) -> Result<Arc<Backend>, Error> {
    let Action::Forward(split) = &route.action else {
        return Err(failed("the rule of the login leads to no backend"));
    };
    let random = || request.worker.random();
    let backend = split.choose(request.head, random);
    let is_https = request.outside.scheme == Scheme::Https;
    backend
        .map(|backend| backend.for_scheme(is_https).clone())
        .map_err(|_refusal| failed("the rule of the login leads to no backend"))
}

// === The response ===

/// Returns the fields of a response that go to the backend.
fn copied(names: &FieldNames, dialect: AuthDialect, response: &Fields) -> Fields {
    let keeps_empty = matches!(dialect, AuthDialect::Traefik { .. });
    let of_connection: Vec<&[u8]> = response
        .all(FieldName::Connection)
        .flat_map(named)
        .collect();
    let is_copied = |field: &Field<'_>| {
        let is = |other: &&[u8]| field.name.eq_ignore_ascii_case(other);
        let is_framing = matches!(
            field.id,
            FieldName::Host | FieldName::ContentLength | FieldName::CdnLoop
        );
        !is_framing
            && !field.id.is_hop_by_hop()
            && (keeps_empty || !field.value.is_empty())
            && !of_connection.iter().any(is)
            && names.has(field.name)
            && (!names.is_all() || !is_about_response(field.name))
    };

    let mut fields = Fields::default();
    for field in response.iter().filter(is_copied) {
        fields.push(field.name, field.value);
    }
    fields
}

/// Returns true for fields of a response that describe it.
fn is_about_response(name: &[u8]) -> bool {
    let start = b"content-";
    let is_content = name
        .get(..start.len())
        .is_some_and(|name| name.eq_ignore_ascii_case(start));
    let is = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
    is_content || OF_RESPONSES.iter().any(is)
}

/// Returns the challenges of a response to clients without a login.
fn challenges(response: &Fields) -> Fields {
    let mut fields = Fields::default();
    for value in response.all(FieldName::WwwAuthenticate) {
        fields.push(b"www-authenticate", value);
    }
    fields
}

fn named_values(fields: &Fields, name: &[u8]) -> Vec<Box<[u8]>> {
    let is_named = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name);
    let values = fields
        .iter()
        .filter(is_named)
        .map(|field| field.value.into());
    values.collect()
}

// === The memory ===

/// Returns the name under which a response is remembered.
fn cache_name(request: &Passing<'_>, auth: &ExternalAuth, key: &[u8]) -> [u8; 32] {
    let origin = &request.route.origin;
    let host = request.any_url().host;
    let cache = request.worker.auth_cache.borrow();
    cache.name(&[
        origin.namespace.as_bytes(),
        origin.name.as_bytes(),
        origin.field.as_bytes(),
        host.as_bytes(),
        auth.url.as_bytes(),
        auth.from.as_bytes(),
        key,
    ])
}

/// Returns the time for which a response is remembered (RFC 9111 section 5.2.2).
fn lasts_for(caching: &AuthCaching, head: &ResponseHead) -> Option<Duration> {
    let decides = head.status.is_success()
        || matches!(
            head.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );

    let sets_cookies = !named_values(&head.fields, b"set-cookie").is_empty();
    let mut times = caching.durations.iter();

    let mut lasts = times.find(|(status, _)| *status == head.status.as_u16())?.1;
    if !decides || sets_cookies {
        return None;
    }

    let varies = named_values(&head.fields, b"vary");
    if varies.iter().any(|value| value.contains(&b'*')) {
        return None;
    }
    for value in named_values(&head.fields, b"cache-control") {
        for directive in elements(&value) {
            let directive = directive.to_ascii_lowercase();
            match &directive[..] {
                b"no-store" | b"no-cache" | b"private" => return None,
                other if other.starts_with(b"max-age=") || other.starts_with(b"s-maxage=") => {
                    let text = str::from_utf8(other).ok()?;
                    let (_, seconds) = text.split_once('=')?;
                    let seconds = seconds.trim_matches('"').parse().ok()?;
                    lasts = lasts.min(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
    }
    (!lasts.is_zero()).then_some(lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn text_of(fields: &Fields) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let lines = fields.iter();
        let lines = lines.map(|field| format!("{}={}", text(field.name), text(field.value)));
        lines.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn named_fields_alone_are_copied() {
        let response = fields(&[
            ("X-User", "ann"),
            ("X_Group", "a"),
            ("X-Group", "b"),
            ("X-Empty", ""),
            ("X-Hop", "1"),
            ("Connection", "x-hop, close"),
            ("Content-Length", "3"),
            ("Set-Cookie", "a=b"),
            ("Date", "now"),
        ]);
        for (names, expected) in [
            ("", ""),
            ("x-user, x-absent", "X-User=ann"),
            ("x-group,x-empty,x-hop", "X_Group=a X-Group=b"),
            ("set-cookie", "Set-Cookie=a=b"),
            ("*", "X-User=ann X_Group=a X-Group=b"),
        ] {
            let names = FieldNames::parse(names).expect("names");
            assert_eq!(
                text_of(&copied(&names, AuthDialect::Nginx, &response)),
                expected,
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_response_says_how_long_it_lasts() {
        let caching = AuthCaching {
            key: Variables::parse("$cookie_a").expect("a key"),
            durations: [200, 202, 401, 500]
                .map(|status| (status, Duration::from_secs(60)))
                .into(),
        };
        let lasts = |status: u16, pairs: &[(&str, &str)]| {
            let head = ResponseHead {
                status: StatusCode::from_u16(status).expect("a status"),
                fields: fields(pairs),
                ..ResponseHead::default()
            };
            lasts_for(&caching, &head).map(|lasts| lasts.as_secs())
        };

        assert_eq!(lasts(200, &[]), Some(60));
        assert_eq!(lasts(401, &[("Cache-Control", "public")]), Some(60));
        assert_eq!(lasts(200, &[("cache-control", "Max-Age=5")]), Some(5));
        assert_eq!(lasts(200, &[("cache-control", "max-age=500")]), Some(60));
        for none in [
            lasts(403, &[]),
            lasts(500, &[]),
            lasts(200, &[("set-cookie", "a=b")]),
            lasts(200, &[("vary", "*")]),
            lasts(200, &[("cache-control", "max-age=0")]),
            lasts(200, &[("cache-control", "max-age=x")]),
            lasts(200, &[("cache-control", "public, No-Store")]),
            lasts(200, &[("cache-control", "private")]),
        ] {
            assert_eq!(none, None);
        }
    }
}
