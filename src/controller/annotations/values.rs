//! The settings that the annotations of an object make.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use crate::{
    controller::{Reason, UnsupportedGuards, backend_terms::BackendTerms, server_url::ServerUrl},
    objects::EventType,
    pki::{KeyType, RenewBefore},
    routing::{
        AllowedList, AuthMethod, CanaryValues, CheckRequest, Conditional, CookieChange,
        CorsDialect, Edit, FieldNames, GoPattern, GroupWeight, HeaderMatch, HealthCheck, Host,
        HostPattern, Location, Origins, Policy, RequestName, RewriteTarget, SameSite,
        SubjectPattern, TlsVersions, Variables, VerifyClient,
    },
};

/// The longest time that a health check may take.
const MAX_CHECK: Duration = Duration::from_secs(60);

/// The settings that the annotations of an Ingress make.
#[derive(Debug, Default)]
pub(in crate::controller) struct AnnotationValues {
    pub(in crate::controller) https: HttpsValues,
    /// Plain HTTP never reaches the backend.
    pub(in crate::controller) https_only: bool,
    /// The decision about unsupported guards. An invalid value refuses.
    pub(in crate::controller) guards: Option<UnsupportedGuards>,
    /// The terms of backends.
    pub(in crate::controller) terms: BackendTerms,
    pub(in crate::controller) backend_tls: BackendTlsValues,
    /// The name of the annotation, and the ServersTransport.
    pub(in crate::controller) transport: Option<(Box<str>, Box<str>)>,
    /// The annotation that sends requests to the address of the Service.
    pub(in crate::controller) service_upstream: Option<Box<str>>,
    pub(in crate::controller) access: AccessValues,
    /// The parts of a login that another server checks, by the prefix of their annotations.
    pub(in crate::controller) external: BTreeMap<Box<str>, ExternalValues>,
    /// The terms for certificates of clients, by the prefix of their annotations.
    pub(in crate::controller) clients: BTreeMap<Box<str>, ClientValues>,
    /// The name of the annotation, and the list of middlewares.
    pub(in crate::controller) middlewares: Option<(Box<str>, Box<str>)>,
    /// The annotation that asks for the login of the whole controller.
    pub(in crate::controller) global_auth: Option<Box<str>>,
    pub(in crate::controller) canary: CanaryAnnotations,
    pub(in crate::controller) sticky: StickyAnnotations,
    pub(in crate::controller) groups: GroupAnnotations,
    pub(in crate::controller) checks: CheckAnnotations,
    pub(in crate::controller) limits: LimitAnnotations,
    pub(in crate::controller) elsewhere: ElsewhereValues,
    pub(in crate::controller) rewrite: RewriteValues,
    pub(in crate::controller) matches: MatchValues,
    pub(in crate::controller) further: FurtherValues,
    pub(in crate::controller) fields: FieldValues,
    pub(in crate::controller) errors: ErrorValues,
    pub(in crate::controller) mirror: MirrorValues,
    pub(in crate::controller) snippet: SnippetValues,
    pub(in crate::controller) server_snippet: ServerSnippet,
    pub(in crate::controller) compression: CompressionValues,
    pub(in crate::controller) cors: CorsValues,
    pub(in crate::controller) passthrough: PassthroughValues,
    pub(in crate::controller) tcp: TcpValues,
    /// The name of the annotation, and its value.
    pub(in crate::controller) host: Option<(Box<str>, HeaderValue)>,
    pub(in crate::controller) policy: Policy,
    /// True if a guard has a value that is not valid, so that the paths return 503.
    pub(in crate::controller) is_closed: bool,
    /// The name of the annotation, and its value.
    pub(in crate::controller) issuer: Option<(Box<str>, Choice)>,
    /// The name of the annotation, and its value.
    pub(in crate::controller) common_name: Option<(Box<str>, Box<str>)>,
    pub(in crate::controller) addresses: Vec<IpAddr>,
    pub(in crate::controller) duration: Option<Duration>,
    /// The name of the annotation, and its value.
    pub(in crate::controller) renew_before: Option<(Box<str>, RenewBefore)>,
    pub(in crate::controller) key_type: Option<KeyType>,
    pub(in crate::controller) keep_key: bool,
    pub(in crate::controller) findings: Vec<AnnotationFinding>,
}

/// The redirect from plain HTTP to HTTPS. `None` if there is no annotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct HttpsValues {
    pub(in crate::controller) redirect: Option<bool>,
    /// True if hosts without TLS have it too.
    pub(in crate::controller) forced: bool,
    pub(in crate::controller) status: Option<StatusCode>,
    pub(in crate::controller) port: Option<u16>,
}

/// TCP in place of HTTP: the names of the annotations, and their values.
#[derive(Debug, Default)]
pub(in crate::controller) struct TcpValues {
    pub(in crate::controller) port: Option<(Box<str>, u16)>,
    pub(in crate::controller) accepts_proxy: Option<(Box<str>, bool)>,
}

/// The name that backends with TLS get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum SentName {
    /// The same one for all requests.
    Fixed(Host),
    OfRequest(RequestName),
}

/// The terms of TLS to backends. `None` if there is no annotation.
#[derive(Clone, Debug, Default)]
pub(in crate::controller) struct BackendTlsValues {
    /// True if plain protocols become those over TLS.
    pub(in crate::controller) secures: Option<bool>,
    /// The name of the annotation, and the Secret with a certificate of ours, authorities, or both.
    pub(in crate::controller) secret: Option<(Box<str>, Box<str>)>,
    /// The Secret with a certificate of ours.
    pub(in crate::controller) identity: Option<NamedIdentity>,
    /// The Secret with the authorities of backends, which are verified.
    pub(in crate::controller) authorities: Option<NamedAuthorities>,
    /// The name of the annotation, and the name that is sent and verified.
    pub(in crate::controller) sni: Option<(Box<str>, SentName)>,
    /// The name of the annotation, and the name that is verified.
    pub(in crate::controller) verified_name: Option<(Box<str>, Host)>,
    pub(in crate::controller) depth: Option<usize>,
    /// The annotation that sets the depth.
    pub(in crate::controller) depth_from: Option<Box<str>>,
    /// True if backends get no name (SNI).
    pub(in crate::controller) hides_name: bool,
    pub(in crate::controller) versions: TlsVersions,
    /// The suites of TLS 1.2; `None` for all.
    pub(in crate::controller) suites: Option<Box<[u16]>>,
    /// The annotation that sets the suites.
    pub(in crate::controller) suites_from: Option<Box<str>>,
}

/// A Secret with a certificate of ours that an annotation names.
#[derive(Clone, Debug)]
pub(in crate::controller) struct NamedIdentity {
    pub(in crate::controller) annotation: Box<str>,
    pub(in crate::controller) secret: Box<str>,
    /// True if plain protocols become those over TLS.
    pub(in crate::controller) secures: bool,
}

/// A Secret with authorities that an annotation names.
#[derive(Clone, Debug)]
pub(in crate::controller) struct NamedAuthorities {
    pub(in crate::controller) annotation: Box<str>,
    pub(in crate::controller) secret: Box<str>,
    /// True if they are in its key `tls.crt`, not in `ca.crt`.
    pub(in crate::controller) in_chain: bool,
}

/// The settings about who may come in.
#[derive(Debug, Default)]
pub(in crate::controller) struct AccessValues {
    /// The annotations that decide.
    pub(in crate::controller) from: Vec<Box<str>>,
    /// The networks that may not come in, of all annotations.
    pub(in crate::controller) denied: Vec<IpNet>,
    /// The networks that may come in, one list for each annotation.
    pub(in crate::controller) allowed: Vec<Vec<IpNet>>,
    /// The parts of a login, by the prefix of their annotations.
    pub(in crate::controller) logins: BTreeMap<Box<str>, LoginValues>,
    pub(in crate::controller) satisfy_any: bool,
}

/// The login of an oauth2-proxy on the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct OauthValues {
    pub(in crate::controller) is_on: bool,
    /// The beginning of its paths, without a slash at the end.
    pub(in crate::controller) prefix: Option<Box<str>>,
    /// The fields of its responses for the backend.
    pub(in crate::controller) copies: Option<FieldNames>,
}

/// The parts of a login that another server checks, which annotations of one prefix make. `None` if
/// there is no annotation, or an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct ExternalValues {
    /// The annotations.
    pub(in crate::controller) from: Vec<Box<str>>,
    pub(in crate::controller) url: Option<ServerUrl>,
    /// The login of oauth2-proxy, without a URL.
    pub(in crate::controller) oauth: OauthValues,
    pub(in crate::controller) sign_in: Option<Box<str>>,
    pub(in crate::controller) redirect_param: Option<Box<str>>,
    pub(in crate::controller) method: Option<AuthMethod>,
    /// The fields of the client for the server.
    pub(in crate::controller) sends: Option<FieldNames>,
    /// The ConfigMap with further fields for the server.
    pub(in crate::controller) adds: Option<Box<str>>,
    /// Further fields for the server.
    pub(in crate::controller) sets: Vec<(HeaderName, Variables)>,
    /// The fields of the server for the backend.
    pub(in crate::controller) copies: Option<FieldNames>,
    /// The fields of the server for a client that may not come in.
    pub(in crate::controller) fails_with: Option<FieldNames>,
    /// `X-Auth-Request-Redirect`
    pub(in crate::controller) redirect: Option<Variables>,
    pub(in crate::controller) cache_key: Option<Variables>,
    pub(in crate::controller) durations: Option<Box<[(u16, Duration)]>>,
    pub(in crate::controller) always_sets_cookies: bool,
}

/// The terms for certificates of clients, which annotations of one prefix make. `None` if there is
/// no annotation, or an empty one.
#[derive(Clone, Debug, Default)]
pub(in crate::controller) struct ClientValues {
    /// The annotations.
    pub(in crate::controller) from: Vec<Box<str>>,
    pub(in crate::controller) secret: Option<Box<str>>,
    pub(in crate::controller) verify: Option<VerifyClient>,
    pub(in crate::controller) depth: Option<usize>,
    pub(in crate::controller) error_page: Option<Box<str>>,
    pub(in crate::controller) subject: Option<SubjectPattern>,
    /// True if the backend gets the certificate as PEM.
    pub(in crate::controller) passes_certificate: bool,
    /// True if the backend gets the certificate as base64.
    pub(in crate::controller) passes_base64: bool,
    /// True if an annotation is not valid.
    pub(in crate::controller) is_invalid: bool,
}

/// The settings of a canary.
#[derive(Debug, Default)]
pub(in crate::controller) struct CanaryAnnotations {
    pub(in crate::controller) enabled: bool,
    /// True if the value of `canary` is not valid.
    pub(in crate::controller) is_invalid: bool,
    /// The annotations that have no effect without `canary`.
    pub(in crate::controller) details: Vec<Box<str>>,
    pub(in crate::controller) header: Option<HeaderName>,
    /// `canary-by-header-value`
    pub(in crate::controller) value: Option<CanaryValues>,
    /// `canary-by-header-pattern`
    pub(in crate::controller) pattern: Option<CanaryValues>,
    pub(in crate::controller) cookie: Option<Box<str>>,
    pub(in crate::controller) weight: u32,
    pub(in crate::controller) total: u32,
}

/// The limits of each client, and of responses. `None` for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct LimitAnnotations {
    /// The annotations that limit.
    pub(in crate::controller) from: Vec<Box<str>>,
    pub(in crate::controller) per_second: Option<u32>,
    /// True if not more of a second may come at once.
    pub(in crate::controller) has_no_burst: bool,
    /// True if further ones get the status of HAProxy Ingress.
    pub(in crate::controller) is_of_haproxy_ingress: bool,
    pub(in crate::controller) per_minute: Option<u32>,
    pub(in crate::controller) burst: Option<u32>,
    /// Requests in a time, and that time.
    pub(in crate::controller) of_period: Option<u32>,
    pub(in crate::controller) period: Option<Duration>,
    /// The status for further ones.
    pub(in crate::controller) status: Option<StatusCode>,
    pub(in crate::controller) in_flight: Option<u32>,
    /// The networks that have no limit.
    pub(in crate::controller) exempt: Vec<IpNet>,
    /// `limit-rate`, in kilobytes.
    pub(in crate::controller) rate: Option<u32>,
    /// `limit-rate-after`, in kilobytes.
    pub(in crate::controller) rate_after: Option<u32>,
}

/// The settings of a sticky session. `None` if there is no annotation.
#[derive(Clone, Debug, Default)]
pub(in crate::controller) struct StickyAnnotations {
    /// The name of the annotation that turns on the cookie.
    pub(in crate::controller) from: Option<Box<str>>,
    pub(in crate::controller) name: Option<Box<str>>,
    pub(in crate::controller) path: Option<Box<str>>,
    pub(in crate::controller) domain: Option<Box<str>>,
    pub(in crate::controller) max_age: Option<u64>,
    pub(in crate::controller) expires: Option<Duration>,
    pub(in crate::controller) same_site: Option<SameSite>,
    /// True if browsers that misread `SameSite=None` do not get it.
    pub(in crate::controller) is_none_conditional: bool,
    pub(in crate::controller) secure: Option<bool>,
    /// True if scripts of pages may read it.
    pub(in crate::controller) is_readable: bool,
    pub(in crate::controller) is_persistent: bool,
    pub(in crate::controller) change_on_failure: bool,
    pub(in crate::controller) ignores_canary: bool,
    /// `upstream-hash-by` with its name.
    pub(in crate::controller) hash: Option<(Box<str>, Variables)>,
    pub(in crate::controller) has_subset: bool,
    pub(in crate::controller) subset_size: Option<NonZeroU32>,
}

/// The health check of endpoints. `None` if there is no annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct CheckAnnotations {
    /// True if there is one.
    pub(in crate::controller) is_on: Option<bool>,
    pub(in crate::controller) request: Option<CheckRequest>,
    pub(in crate::controller) addr: Option<IpAddr>,
    pub(in crate::controller) port: Option<u16>,
    pub(in crate::controller) interval: Option<Duration>,
    pub(in crate::controller) timeout: Option<Duration>,
    pub(in crate::controller) rise: Option<u32>,
    pub(in crate::controller) fall: Option<u32>,
}

impl CheckAnnotations {
    /// Returns those of an Ingress with those of a Service in place of them.
    pub(in crate::controller) fn with_service(&self, of_service: Self) -> Self {
        Self {
            is_on: of_service.is_on.or(self.is_on),
            request: of_service.request.or_else(|| self.request.clone()),
            addr: of_service.addr.or(self.addr),
            port: of_service.port.or(self.port),
            interval: of_service.interval.or(self.interval),
            timeout: of_service.timeout.or(self.timeout),
            rise: of_service.rise.or(self.rise),
            fall: of_service.fall.or(self.fall),
        }
    }

    /// Returns the health check; `None` for none. Without annotations about them its terms are
    /// those of HAProxy Ingress.
    pub(in crate::controller) fn check(&self) -> Option<Arc<HealthCheck>> {
        let interval = self.interval.unwrap_or(Duration::from_secs(2));
        let timeout = self
            .timeout
            .unwrap_or(interval)
            .min(interval)
            .min(MAX_CHECK);
        let check = || HealthCheck {
            request: self.request.clone(),
            addr: self.addr,
            port: self.port,
            interval,
            timeout,
            rise: self.rise.unwrap_or(2),
            fall: self.fall.unwrap_or(3),
        };
        (self.is_on == Some(true)).then(|| Arc::new(check()))
    }
}

/// The groups of the endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct GroupAnnotations {
    pub(in crate::controller) weights: Box<[GroupWeight]>,
    /// True if a weight is that of each endpoint; `None` if there is no annotation.
    pub(in crate::controller) per_endpoint: Option<bool>,
    /// The field that names a group.
    pub(in crate::controller) header: Option<NamedLabel<HeaderName>>,
    /// The cookie that names a group.
    pub(in crate::controller) cookie: Option<NamedLabel<Box<str>>>,
}

/// A property of requests that has the value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct NamedLabel<T> {
    /// The name of the annotation.
    pub(in crate::controller) from: Box<str>,
    pub(in crate::controller) name: T,
    pub(in crate::controller) label: Box<str>,
}

impl GroupAnnotations {
    /// Returns those of an Ingress with those of a Service in place of them.
    pub(in crate::controller) fn with_service(&self, of_service: Self) -> Self {
        Self {
            weights: match of_service.weights.is_empty() {
                true => self.weights.clone(),
                false => of_service.weights,
            },
            per_endpoint: of_service.per_endpoint.or(self.per_endpoint),
            header: of_service.header.or_else(|| self.header.clone()),
            cookie: of_service.cookie.or_else(|| self.cookie.clone()),
        }
    }
}

/// The settings about TLS that the backend ends.
#[derive(Debug, Default)]
pub(in crate::controller) struct PassthroughValues {
    /// The name of the annotation that asks for it.
    pub(in crate::controller) from: Option<Box<str>>,
    /// True if plain HTTP is redirected without a port of its own.
    pub(in crate::controller) redirects: bool,
    /// The name of the annotation, and the port of the Service for plain HTTP.
    pub(in crate::controller) plain_port: Option<(Box<str>, u16)>,
}

/// The pages in place of errors.
#[derive(Debug, Default)]
pub(in crate::controller) struct ErrorValues {
    /// The name of the annotation, and the statuses.
    pub(in crate::controller) statuses: Option<(Box<str>, Box<[u16]>)>,
    /// The name of the annotation, and that of a Service.
    pub(in crate::controller) service: Option<(Box<str>, Box<str>)>,
    /// True if responses of backends stay as they are.
    pub(in crate::controller) is_off: bool,
}

/// The copies of requests.
#[derive(Debug, Default)]
pub(in crate::controller) struct MirrorValues {
    /// The annotations.
    pub(in crate::controller) from: Vec<Box<str>>,
    /// The URL of the server; `None` if there is no annotation, or an empty one.
    pub(in crate::controller) target: Option<ServerUrl>,
    /// True if copies have no body.
    pub(in crate::controller) leaves_out_body: bool,
    /// `Host`; `None` for that of the URL.
    pub(in crate::controller) host: Option<Variables>,
}

/// The terms for pages of other origins. `None` if there is no annotation.
#[derive(Debug, Default)]
pub(in crate::controller) struct CorsValues {
    /// The name of the annotation that turns it on.
    pub(in crate::controller) enabled: Option<Box<str>>,
    pub(in crate::controller) origins: Option<Origins>,
    /// Expressions for further origins.
    pub(in crate::controller) patterns: Option<Box<[GoPattern]>>,
    pub(in crate::controller) methods: Option<AllowedList>,
    pub(in crate::controller) headers: Option<AllowedList>,
    pub(in crate::controller) expose: Option<HeaderValue>,
    pub(in crate::controller) credentials: Option<bool>,
    pub(in crate::controller) max_age: Option<u32>,
    pub(in crate::controller) dialect: CorsDialect,
    /// True if HAProxy Technologies responds to OPTIONS.
    pub(in crate::controller) responds: bool,
}

/// The changes of fields. Those that are set have the name of their annotation.
#[derive(Debug, Default)]
pub(in crate::controller) struct FieldValues {
    pub(in crate::controller) request: Vec<(Box<str>, HeaderName, HeaderValue)>,
    /// Further ones, beside those with their names.
    pub(in crate::controller) request_added: Vec<(Box<str>, HeaderName, HeaderValue)>,
    /// The names of annotations, and of fields that backends do not get.
    pub(in crate::controller) request_removed: Vec<(Box<str>, HeaderName)>,
    pub(in crate::controller) response: Vec<(Box<str>, HeaderName, HeaderValue)>,
    pub(in crate::controller) response_added: Vec<(Box<str>, HeaderName, HeaderValue)>,
    pub(in crate::controller) response_removed: Vec<HeaderName>,
    /// The names of annotations, and the ConfigMaps with fields for clients.
    pub(in crate::controller) custom: Vec<(Box<str>, Box<str>)>,
    pub(in crate::controller) cookies: CookieChange,
    pub(in crate::controller) redirect_from: Option<Location>,
    pub(in crate::controller) redirect_to: Option<Location>,
    pub(in crate::controller) hsts: HstsValues,
}

/// `Strict-Transport-Security`. `None` if there is no annotation.
#[derive(Debug, Default)]
pub(in crate::controller) struct HstsValues {
    pub(in crate::controller) is_on: Option<bool>,
    pub(in crate::controller) max_age: Option<u32>,
    pub(in crate::controller) subdomains: bool,
    pub(in crate::controller) preload: bool,
}

/// The parts of nginx configuration that have no annotation of their own.
#[derive(Debug, Default)]
pub(in crate::controller) struct SnippetValues {
    /// The annotation.
    pub(in crate::controller) from: Option<Box<str>>,
    /// The annotation, and the directive that closes the paths.
    pub(in crate::controller) unknown: Option<(Box<str>, Box<str>)>,
    pub(in crate::controller) conditionals: Vec<Conditional>,
    /// Fields for the backend; without a value they are removed.
    pub(in crate::controller) request: Vec<(HeaderName, Option<Variables>)>,
    /// Fields that clients do not get.
    pub(in crate::controller) hidden: Vec<HeaderName>,
}

/// The compression of responses.
#[derive(Debug, Default)]
pub(in crate::controller) struct CompressionValues {
    pub(in crate::controller) gzip: CodingValues,
    pub(in crate::controller) brotli: CodingValues,
}

/// The compression of responses with one coding.
#[derive(Debug, Default)]
pub(in crate::controller) struct CodingValues {
    pub(in crate::controller) is_on: Option<bool>,
    /// The annotation that says so.
    pub(in crate::controller) from: Box<str>,
    /// The media types, in lower case; none for the default.
    pub(in crate::controller) types: Vec<Box<str>>,
    /// Bytes.
    pub(in crate::controller) min_length: Option<u64>,
    pub(in crate::controller) level: Option<u8>,
}

/// The configuration of nginx for whole hosts.
#[derive(Debug, Default)]
pub(in crate::controller) enum ServerSnippet {
    #[default]
    None,
    Known(Box<ServerValues>),
    /// The annotation, and the directive that closes the hosts.
    Unknown(Box<str>, Box<str>),
}

/// Steps for all paths of some hosts.
#[derive(Debug)]
pub(in crate::controller) struct ServerValues {
    /// The annotation.
    pub(in crate::controller) from: Box<str>,
    /// The responses of our own, in their order.
    pub(in crate::controller) responses: Vec<Conditional>,
    /// The networks that may not come in.
    pub(in crate::controller) denied: Vec<IpNet>,
    /// The only networks that may.
    pub(in crate::controller) allowed: Option<Vec<IpNet>>,
    /// Fields for the client; without a value they are removed.
    pub(in crate::controller) fields: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// Further hosts, and redirects between spellings of hosts and paths.
#[derive(Debug, Default)]
pub(in crate::controller) struct FurtherValues {
    /// The name of the annotation, and the hosts.
    pub(in crate::controller) aliases: Option<(Box<str>, Vec<HostPattern>)>,
    /// The name of the annotation, and the expression of hosts that have the rules of the first
    /// one.
    pub(in crate::controller) alias_expression: Option<(Box<str>, GoPattern)>,
    /// The name of the annotation, and the expression of hosts that lead to the first one.
    pub(in crate::controller) redirected_expression: Option<(Box<str>, GoPattern)>,
    /// The name of the annotation that asks for redirects from and to `www.`.
    pub(in crate::controller) www: Option<Box<str>>,
    /// The name of the annotation, and the host that leads to those of the Ingress.
    pub(in crate::controller) redirected: Option<(Box<str>, HostPattern)>,
    pub(in crate::controller) redirected_code: Option<StatusCode>,
    /// True if redirects from paths without a slash have no scheme and host.
    pub(in crate::controller) relative: bool,
}

/// The conditions of rules beside their paths.
#[derive(Debug, Default)]
pub(in crate::controller) struct MatchValues {
    /// All must hold.
    pub(in crate::controller) headers: Vec<HeaderMatch>,
    /// True if one cannot be read, so that it is not known which requests are meant.
    pub(in crate::controller) is_unknown: bool,
}

/// The meaning of paths with the type `ImplementationSpecific`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum PathKind {
    Begin,
    Exact,
    Prefix,
    Regex,
    /// A regular expression that is found anywhere in the path.
    Found,
}

/// The treatment of paths.
#[derive(Debug, Default)]
pub(in crate::controller) struct RewriteValues {
    /// True if the paths are regular expressions.
    pub(in crate::controller) regex: bool,
    /// `path-type`, or `router.pathmatcher`.
    pub(in crate::controller) kind: Option<PathKind>,
    /// The name of the annotation, its text, and the target.
    pub(in crate::controller) target: Option<(Box<str>, Box<str>, RewriteTarget)>,
    /// The name of the annotation, and the path in place of that of the rule.
    pub(in crate::controller) swap: Option<(Box<str>, Box<str>)>,
    /// The changes of all paths, each with the name of the annotation.
    pub(in crate::controller) rules: Vec<(Box<str>, Edit)>,
    /// The name of the annotation, and `X-Forwarded-Prefix`.
    pub(in crate::controller) prefix: Option<(Box<str>, HeaderValue)>,
    /// The name of the annotation, and the place among the rules of a host.
    pub(in crate::controller) priority: Option<(Box<str>, i32)>,
}

/// The redirects to other URLs, each with the name of its annotation.
#[derive(Debug, Default)]
pub(in crate::controller) struct ElsewhereValues {
    pub(in crate::controller) permanent: Option<(Box<str>, Location)>,
    pub(in crate::controller) permanent_code: Option<StatusCode>,
    pub(in crate::controller) temporal: Option<(Box<str>, Location)>,
    pub(in crate::controller) temporal_code: Option<StatusCode>,
    /// The redirect of HAProxy.
    pub(in crate::controller) other: Option<(Box<str>, Location)>,
    pub(in crate::controller) other_code: Option<StatusCode>,
    pub(in crate::controller) app_root: Option<(Box<str>, Location)>,
}

/// The parts of a login that annotations of one prefix make. `None` if there is no annotation, or
/// an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct LoginValues {
    /// `auth-type`
    pub(in crate::controller) kind: Option<Box<str>>,
    /// `auth-secret`
    pub(in crate::controller) secret: Option<Box<str>>,
    /// `auth-secret-type`
    pub(in crate::controller) form: Option<Box<str>>,
    /// `auth-realm`
    pub(in crate::controller) realm: Option<Box<str>>,
}

/// The choice of an issuer.
#[derive(Debug)]
pub(in crate::controller) enum Choice {
    /// No certificate is ordered.
    NoIssuer,
    /// These, in the order of preference.
    Named(Vec<Box<str>>),
    /// The default issuer.
    Default,
}

/// A problem or note about an annotation, which becomes a finding.
#[derive(Clone, Debug)]
pub(in crate::controller) struct AnnotationFinding {
    pub(in crate::controller) severity: EventType,
    pub(in crate::controller) reason: Reason,
    pub(in crate::controller) annotation: Box<str>,
    pub(in crate::controller) message: String,
}

impl AnnotationFinding {
    /// Returns a Warning about an annotation.
    pub(in crate::controller) fn warning(
        reason: Reason,
        annotation: &str,
        message: String,
    ) -> Self {
        Self {
            severity: EventType::Warning,
            reason,
            annotation: annotation.into(),
            message,
        }
    }

    /// Returns notes about annotations that have no effect without another one.
    pub(in crate::controller) fn without(
        needed: &str,
        annotations: &[Box<str>],
    ) -> impl Iterator<Item = Self> {
        annotations.iter().map(move |annotation| Self {
            severity: EventType::Normal,
            reason: Reason::UnsupportedAnnotation,
            annotation: annotation.clone(),
            message: format!("it has no effect without {needed}"),
        })
    }
}

impl AnnotationValues {
    /// Adds a finding.
    pub(in crate::controller) fn report(
        &mut self,
        severity: EventType,
        reason: Reason,
        annotation: &str,
        message: String,
    ) {
        self.findings.push(AnnotationFinding {
            severity,
            reason,
            annotation: annotation.into(),
            message,
        });
    }

    /// Adds a note about something that gatelet does not do.
    pub(super) fn unsupported(&mut self, annotation: &str, message: &str) {
        self.report(
            EventType::Normal,
            Reason::UnsupportedAnnotation,
            annotation,
            message.to_owned(),
        );
    }
}
