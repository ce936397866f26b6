//! Makes the steps of the Middlewares of Traefik that an Ingress or a Service names, in their
//! order. One that does not exist, or that cannot be done as it is meant, refuses every request.

mod access;
mod breaker;
mod certificates;
mod compress;
mod errors;
mod fields;
mod forward_auth;
mod grpc_web;
mod limits;
mod paths;
mod redirects;

use std::sync::Arc;

use http::HeaderValue;

use super::{
    Reason,
    annotations::AnnotationFinding,
    backends::Backends,
    external_auth::MadeAuth,
    facts::{TraefikFact, TraefikId},
    guards::Decision,
    objects::{Name, Objects},
    references::References,
    traefik::{self, Fields, Problem},
};
use crate::{
    objects::{EventType, Kind},
    routing::{
        CircuitBreaker, ClientLimits, HostPattern, Policy, Refusal, RequestStep, ResponseStep,
    },
};

/// The most Middlewares on the way of a request, those in chains included.
const MAX_MIDDLEWARES: usize = 64;
/// The most chains around a Middleware.
const MAX_DEPTH: usize = 8;

/// The end of a message about a Middleware that closes the paths.
const CLOSED: &str = ": the paths return 503";

/// An annotation with a list of Middlewares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The name of the annotation.
    pub(super) annotation: &'a str,
    /// Its value.
    pub(super) list: &'a str,
    pub(super) decision: Decision,
    /// The object whose requests the limits count together; `None` for those of each rule.
    pub(super) counts_for: Option<&'a str>,
}

/// The result of making the steps.
#[derive(Clone, Debug, Default)]
pub(super) struct MadeMiddlewares {
    /// The steps on requests, in their order.
    steps: Vec<Step>,
    /// The steps on responses, in their order.
    pub(super) responses: Vec<ResponseStep>,
    /// `Strict-Transport-Security`; `None` if the others decide.
    pub(super) hsts: Option<HeaderValue>,
    /// Attempts for a request, the first included.
    attempts: Option<u32>,
    /// Bytes of a request body.
    max_body_bytes: Option<u64>,
    /// True if request bodies are read before an endpoint is asked.
    reads_ahead: bool,
    /// True if the first step leads plain HTTP to HTTPS.
    pub(super) redirects_plain: bool,
    /// True if one limits requests in flight.
    has_in_flight: bool,
    /// The number of Middlewares.
    count: usize,
    /// The fields of requests that the steps change, in lower case.
    changed: Vec<Box<str>>,
    /// The refusal, if one of them cannot be done.
    pub(super) refusal: Option<Refusal>,
    /// The Middlewares, and the objects that they name.
    pub(super) references: References,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// A step on requests.
#[derive(Clone, Debug)]
enum Step {
    Ready(RequestStep),
    /// A login that another server checks: its host may be that of the rule.
    Auth(MadeAuth),
    /// A limit: each rule counts for itself.
    Limit(ClientLimits),
    /// The same of a circuit breaker.
    Breaker(CircuitBreaker),
}

impl Step {
    /// Returns the step as it counts the requests of an object; `None` if the host decides.
    fn counting_for(&self, owner: &str) -> Option<RequestStep> {
        let object = |middleware: &str| format!("{owner} {middleware}").into();
        match self {
            Self::Ready(step) => Some(step.clone()),
            Self::Auth(_) => None,
            Self::Limit(limits) => Some(RequestStep::Limit(Arc::new(ClientLimits {
                object: object(&limits.object),
                ..limits.clone()
            }))),
            Self::Breaker(terms) => Some(RequestStep::CircuitBreaker(Arc::new(CircuitBreaker {
                object: object(&terms.object),
                ..terms.clone()
            }))),
        }
    }
}

impl MadeMiddlewares {
    /// Adds the terms on which requests are forwarded to those of annotations.
    pub(super) fn apply_to(&self, policy: &mut Policy) {
        policy.attempts = policy.attempts.or(self.attempts);
        policy.reads_ahead |= self.reads_ahead;
        let sizes = [policy.max_body_bytes, self.max_body_bytes];
        policy.max_body_bytes = sizes.into_iter().flatten().min();
    }

    /// Returns what is wrong with a limit of requests in flight beside one of annotations: a
    /// request has one place.
    pub(super) fn both_in_flight(
        &self,
        annotation: &str,
        of_annotations: Option<&ClientLimits>,
    ) -> Option<AnnotationFinding> {
        let limiting = of_annotations.filter(|one| one.limits.in_flight.is_some());
        let limiting = limiting.filter(|_| self.has_in_flight)?;
        let message = format!(
            "a Middleware limits requests in flight, and {} too{CLOSED}",
            limiting.from
        );
        let reason = Reason::UnsupportedMiddleware;
        Some(AnnotationFinding::warning(reason, annotation, message))
    }

    /// Returns the steps on the requests of a rule for a host; `None` if that is not possible.
    /// `object` is the Ingress with the rule.
    pub(super) fn on(
        &self,
        host: &HostPattern,
        object: impl FnOnce() -> String,
    ) -> Option<Vec<RequestStep>> {
        // Of most routes.
        if self.steps.is_empty() {
            return Some(Vec::new());
        }
        let rule = format!("{} {host}", object());
        let steps = self.steps.iter().map(|step| match step {
            Step::Auth(auth) => auth.on(host).map(RequestStep::ExternalAuth),
            step => step.counting_for(&rule),
        });
        steps.collect()
    }
}

/// Makes the steps that an annotation asks for, behind those `before` it. The refusal and the
/// findings are those of the annotation alone.
pub(super) fn make(
    objects: &Objects,
    backends: &mut Backends,
    asked: Asked<'_>,
    before: MadeMiddlewares,
) -> MadeMiddlewares {
    let mut making = Making {
        objects,
        backends,
        asked,
        chain: Vec::new(),
        made: MadeMiddlewares {
            refusal: None,
            findings: Vec::new(),
            ..before
        },
    };

    for name in asked.list.split(',').map(str::trim) {
        if let Err((subject, problem)) = making.named(name) {
            making.close(&subject, &problem);
        }
    }
    making.made
}

/// A problem with the object that has it, for people.
type Failure = (String, Problem);

/// The state while steps are made.
struct Making<'a> {
    objects: &'a Objects,
    backends: &'a mut Backends,
    asked: Asked<'a>,
    /// The Middleware that is being made, behind the chains around it.
    chain: Vec<&'a Name>,
    made: MadeMiddlewares,
}

impl<'a> Making<'a> {
    /// Makes a Middleware that the annotation names.
    fn named(&mut self, text: &str) -> Result<(), Failure> {
        let id = traefik::id(Kind::Middleware, text);
        self.identified(id.map_err(|problem| (format!("{text:?}"), problem))?)
    }

    /// Makes the Middleware with an id.
    fn identified(&mut self, id: TraefikId) -> Result<(), Failure> {
        let found = traefik::find(self.objects, &id);
        let found = found.map_err(|problem| (id.1.to_string(), problem));
        self.made.references.traefik.push(id);
        let (name, fact) = found?;
        self.existing(name, fact)
    }

    /// Makes a Middleware that exists.
    fn existing(&mut self, name: &'a Name, fact: &'a TraefikFact) -> Result<(), Failure> {
        let failure = |why: &str| {
            let problem = Problem {
                reason: Reason::InvalidMiddleware,
                field: String::new(),
                why: why.to_owned(),
            };
            (format!("{}/{}", name.0, name.1), problem)
        };
        if self.chain.contains(&name) {
            return Err(failure("its chain leads back to it"));
        }
        if self.chain.len() >= MAX_DEPTH {
            return Err(failure("there are too many chains around it"));
        }
        self.made.count += 1;
        if self.made.count > MAX_MIDDLEWARES {
            return Err(failure("there are too many Middlewares"));
        }

        self.chain.push(name);
        let made = self.spec(fact);
        self.chain.pop();
        made
    }

    /// Makes the step that the spec of the last Middleware of the chain asks for.
    fn spec(&mut self, fact: &'a TraefikFact) -> Result<(), Failure> {
        let mut kinds = fact.spec.iter().filter(|(_, value)| !value.is_null());
        let (kind, value) = match (kinds.next(), kinds.next()) {
            (Some((kind, value)), None) => (&**kind, value),
            (None, _) => return Err(self.failure("spec", "it has no kind of middleware")),
            (Some(_), Some((second, _))) => {
                let why = "a Middleware has one kind";
                return Err(self.failure(&format!("spec.{second}"), why));
            }
        };
        let Some(members) = value.as_object() else {
            return Err(self.failure(&format!("spec.{kind}"), "it is not an object"));
        };

        let fields = Fields::of(Kind::Middleware, format!("spec.{kind}"), members);
        if kind == "chain" {
            return self.chain(fields);
        }
        let made = match kind {
            "addPrefix" => self.add_prefix(fields),
            "stripPrefix" => self.strip_prefix(fields),
            "stripPrefixRegex" => self.strip_prefix_regex(fields),
            "replacePath" => self.replace_path(fields),
            "replacePathRegex" => self.replace_path_regex(fields),
            "ipAllowList" | "ipWhiteList" => self.ip_allow_list(fields),
            "basicAuth" => self.basic_auth(fields),
            "forwardAuth" => self.forward_auth(fields),
            "headers" => self.headers(fields),
            "errors" => self.errors(fields),
            "digestAuth" => self.digest_auth(fields),
            "circuitBreaker" => self.circuit_breaker(fields),
            "passTLSClientCert" => self.pass_tls_client_cert(fields),
            "encodedCharacters" => self.encoded_characters(fields),
            "redirectScheme" => self.redirect_scheme(fields),
            "redirectRegex" => self.redirect_regex(fields),
            "rateLimit" => self.rate_limit(fields),
            "inFlightReq" => self.in_flight_req(fields),
            "buffering" => self.buffering(fields),
            "retry" => self.retry(fields),
            "compress" => self.compress(fields),
            "grpcWeb" => self.grpc_web(fields),
            "contentType" => {
                self.without_effect(fields, "Content-Type is that of the backend");
                Ok(())
            }
            _ => Err(Problem {
                reason: Reason::UnsupportedMiddleware,
                field: fields.path().to_owned(),
                why: "gatelet does not have this kind of middleware".to_owned(),
            }),
        };
        made.map_err(|problem| (self.subject(), problem))
    }

    /// Makes the Middlewares of a chain.
    fn chain(&mut self, mut fields: Fields<'a>) -> Result<(), Failure> {
        let own = self.chain.last().map_or("", |name| &*name.0);
        let subject = self.subject();
        let parts = fields.parts("middlewares").and_then(|parts| {
            let named = |mut part: Fields<'a>| {
                let name = part.needed("name")?;
                let namespace = part.text("namespace")?.unwrap_or(own);
                let field = part.field("name");
                part.finish()?;
                Ok((field, namespace, name))
            };
            let parts: Result<Vec<_>, Problem> = parts.into_iter().map(named).collect();
            fields.finish()?;
            parts
        });
        let parts = parts.map_err(|problem| (subject.clone(), problem))?;

        for (field, namespace, name) in parts {
            let made = match name.split_once('@') {
                None => self.identified((Kind::Middleware, TraefikFact::id(namespace, name))),
                Some(_) => self.named(name),
            };
            if let Err((of, problem)) = made {
                // The first names are the last that the user sees: the way there helps.
                let why = match &*problem.field {
                    "" => format!("{of}: {}", problem.why),
                    inner => format!("{of}: {inner}: {}", problem.why),
                };
                self.close(
                    &subject,
                    &Problem {
                        field,
                        why,
                        ..problem
                    },
                );
            }
        }
        Ok(())
    }

    /// Returns the name of the Middleware that is being made.
    fn subject(&self) -> String {
        let name = self.chain.last();
        name.map(|name| format!("{}/{}", name.0, name.1))
            .unwrap_or_default()
    }

    /// Returns the namespace of the Middleware that is being made.
    fn namespace(&self) -> Arc<str> {
        let name = self.chain.last();
        name.map_or_else(|| "".into(), |name| name.0.clone())
    }

    /// Refuses a Middleware that depends on fields of requests which others change before it: it
    /// would see them as the client sent them.
    fn unchanged(&self, fields: &Fields<'_>, names: &[&str]) -> Result<(), Problem> {
        let changed = self.made.changed.iter();
        let mut changed = changed.filter(|name| names.contains(&&***name));
        match changed.next() {
            None => Ok(()),
            Some(name) => Err(Problem {
                reason: Reason::UnsupportedMiddleware,
                field: fields.path().to_owned(),
                why: format!(
                    "a Middleware before it changes {name}, but gatelet would use that of the \
                     client: name it first"
                ),
            }),
        }
    }

    /// Returns the name of the Middleware that is being made, for `explain`.
    fn from(&self) -> Box<str> {
        format!("Middleware {}", self.subject()).into()
    }

    fn failure(&self, field: &str, why: &str) -> Failure {
        let problem = Problem {
            reason: Reason::InvalidMiddleware,
            field: field.to_owned(),
            why: why.to_owned(),
        };
        (self.subject(), problem)
    }

    fn step(&mut self, step: RequestStep) {
        self.made.steps.push(Step::Ready(step));
    }

    /// Adds a step that counts requests.
    fn counting_step(&mut self, step: Step) {
        let owner = self.asked.counts_for;
        let counting = owner.and_then(|owner| step.counting_for(owner));
        self.made.steps.push(counting.map_or(step, Step::Ready));
    }

    /// Reports a problem with a part of a Middleware that is done.
    fn warn(&mut self, reason: Reason, field: &str, why: &str) {
        let message = format!("Middleware {}: {field}: {why}", self.subject());
        self.report(EventType::Warning, reason, message);
    }

    /// Reports a field that is passed over.
    fn note(&mut self, field: &str, why: &str) {
        let message = format!("Middleware {}: {field}: {why}", self.subject());
        self.report(EventType::Normal, Reason::UnsupportedMiddleware, message);
    }

    /// Closes the paths because of a problem, unless their owner has decided otherwise.
    fn close(&mut self, subject: &str, Problem { reason, field, why }: &Problem) {
        let field = match &**field {
            "" => String::new(),
            field => format!("{field}: "),
        };
        let message = format!("Middleware {subject}: {field}{why}");
        let decision = self.asked.decision;
        if decision.ignores() {
            let because = format!(
                ": the paths are served without it, because of {}",
                decision.by()
            );
            return self.report(EventType::Normal, *reason, message + &because);
        }

        self.report(EventType::Warning, *reason, message + CLOSED);
        self.made.refusal = Some(match reason {
            Reason::UnknownMiddleware => Refusal::UnknownMiddleware,
            Reason::UnsupportedMiddleware => Refusal::UnsupportedGuard,
            Reason::SecretNotFound | Reason::SecretsForbidden | Reason::InvalidSecret => {
                Refusal::UnknownUsers
            }
            _ => Refusal::InvalidGuard,
        });
    }

    fn report(&mut self, severity: EventType, reason: Reason, message: String) {
        self.made.findings.push(AnnotationFinding {
            severity,
            reason,
            annotation: self.asked.annotation.into(),
            message,
        });
    }
}
