//! Makes the terms of backends from the ServersTransport of Traefik that a Service names. One that
//! does not exist, or that cannot be met, refuses every request.

use std::{sync::Arc, time::Duration};

use super::{
    Reason,
    annotations::{AnnotationFinding, CLOSED},
    backend_terms::BackendTerms,
    backends::Backends,
    ciphers,
    facts::TraefikId,
    objects::{Name, Objects},
    secrets,
    traefik::{self, Fields, Problem},
};
use crate::{
    objects::{EventType, Kind},
    routing::{Authorities, Host, Identity, Refusal, Timeouts, TlsTerms, TlsVersions, Verify},
};

/// The most objects with authorities.
const MAX_AUTHORITIES: usize = 32;

/// Fields that decide which servers are right, beside their authorities and names.
const REFUSED: &[(&str, &str)] = &[
    ("peerCertURI", "the names of URIs are not verified"),
    ("peerCertSANs", "the names of a list are not verified"),
    ("spiffe", "gatelet has no identity of SPIFFE"),
];

/// The result of making terms.
#[derive(Debug, Default)]
pub(super) struct MadeTransport {
    /// The refusal, if the terms cannot be met.
    pub(super) refusal: Option<Refusal>,
    /// The times of connecting and of responses; `None` for what the object does not set.
    pub(super) timeouts: Timeouts,
    /// The object, whether it exists or not; `None` if the annotation names none.
    pub(super) id: Option<TraefikId>,
    /// The Secrets that it names, whether they exist or not.
    pub(super) secrets: Vec<Name>,
    /// The ConfigMaps that it names, whether they exist or not.
    pub(super) config_maps: Vec<Name>,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// Makes the terms that an annotation asks for, and sets them in those of the backends. `named` is
/// its name and value.
pub(super) fn make(
    objects: &Objects,
    backends: &mut Backends,
    named: &(Box<str>, Box<str>),
    to: &mut BackendTerms,
) -> MadeTransport {
    let (annotation, text) = named;
    let mut making = Making {
        objects,
        annotation,
        subject: format!("{text:?}"),
        namespace: "".into(),
        made: MadeTransport::default(),
    };
    match making.named(text, to) {
        Ok(terms) => to.tls.terms = backends.share_tls(terms),
        Err(problem) => making.close(&problem),
    }
    making.made
}

/// Terms that are being made.
struct Making<'a> {
    objects: &'a Objects,
    annotation: &'a str,
    /// The object, for people.
    subject: String,
    /// Its namespace.
    namespace: Arc<str>,
    made: MadeTransport,
}

impl Making<'_> {
    fn named(&mut self, text: &str, to: &mut BackendTerms) -> Result<TlsTerms, Problem> {
        let id = traefik::id(Kind::ServersTransport, text)?;
        let found = traefik::find(self.objects, &id);
        self.made.id = Some(id);

        let (name, fact) = found?;
        self.subject = format!("{}/{}", name.0, name.1);
        self.namespace = name.0.clone();
        let spec = "spec".to_owned();
        self.spec(Fields::of(Kind::ServersTransport, spec, &fact.spec), to)
    }

    fn spec(&mut self, mut fields: Fields<'_>, to: &mut BackendTerms) -> Result<TlsTerms, Problem> {
        for (name, why) in REFUSED {
            fields.absent(name, *why)?;
        }
        let server_name = match fields.text("serverName")? {
            None => None,
            Some(text) => {
                let host = Host::parse(text);
                Some(host.map_err(|error| fields.invalid("serverName", error.to_string()))?)
            }
        };

        let verify = match fields.flag("insecureSkipVerify")? {
            true => Verify::Never,
            false => Verify::Always,
        };

        let authorities = self.authorities(&mut fields)?.map(Arc::new);
        let identity = self.identity(&mut fields)?.map(Arc::new);
        let (versions, suites) = self.versions(&mut fields)?;
        let only_http1 = fields.flag("disableHTTP2")?;

        self.timeouts(&mut fields)?;
        if fields.has("maxIdleConnsPerHost") {
            let why = "the setting proxy.max_idle_per_endpoint limits idle connections";
            self.note(&fields.field("maxIdleConnsPerHost"), why);
        }
        fields.finish()?;

        to.only_http1 = only_http1;
        to.tls.verify = verify;
        to.tls.server_name = server_name;
        Ok(TlsTerms {
            identity,
            authorities,
            versions,
            suites,
            ..TlsTerms::default()
        })
    }

    /// Reads the authorities of Secrets and ConfigMaps, which count together.
    fn authorities(&mut self, fields: &mut Fields<'_>) -> Result<Option<Authorities>, Problem> {
        let (mut certificates, mut lists) = (Vec::new(), Vec::new());
        let mut count = 0;

        for secret in fields.texts("rootCAsSecrets")? {
            let field = fields.field("rootCAsSecrets");
            self.of_secret(&field, secret, &mut certificates, &mut lists)?;
            count += 1;
        }
        for mut part in fields.parts("rootCAs")? {
            match (part.text("secret")?, part.text("configMap")?) {
                (Some(secret), None) => {
                    let field = part.field("secret");
                    self.of_secret(&field, secret, &mut certificates, &mut lists)?;
                }
                (None, Some(map)) => {
                    let field = part.field("configMap");
                    self.of_config_map(&field, map, &mut certificates)?;
                }
                _ => return Err(part.invalid("secret", "it is not one Secret or ConfigMap")),
            }
            part.finish()?;
            count += 1;
            if count > MAX_AUTHORITIES {
                return Err(fields.unsupported("rootCAs", "there are too many"));
            }
        }
        if count == 0 {
            return Ok(None);
        }

        let lists = (!lists.is_empty()).then_some(&lists[..]);
        let read = (self.objects.read_authorities)(&certificates, lists);
        read.map(Some).map_err(|why| Problem {
            reason: Reason::InvalidSecret,
            field: fields.field("rootCAs"),
            why: format!("it cannot be used: {why}"),
        })
    }

    /// Adds the authorities of a Secret, and its lists of revoked certificates.
    fn of_secret(
        &mut self,
        field: &str,
        secret: &str,
        certificates: &mut Vec<u8>,
        lists: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let name: Name = (self.namespace.clone(), secret.into());
        self.made.secrets.push(name.clone());
        let problem = |(reason, why)| Problem {
            reason,
            field: field.to_owned(),
            why,
        };

        let fact = secrets::find(self.objects, &name, "has neither ca.crt nor tls.ca");
        let raw = match &fact.map_err(problem)?.authorities {
            Some(Ok(raw)) => raw,
            Some(Err(why)) => {
                let why = format!("Secret {secret} cannot be used: {why}");
                return Err(problem((Reason::InvalidSecret, why)));
            }
            None => {
                let why = format!("Secret {secret} has neither ca.crt nor tls.ca");
                return Err(problem((Reason::InvalidSecret, why)));
            }
        };

        append(certificates, &raw.ca);
        append(lists, raw.crl.as_deref().unwrap_or_default());
        Ok(())
    }

    /// Adds the authorities of a ConfigMap.
    fn of_config_map(
        &mut self,
        field: &str,
        map: &str,
        certificates: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let name: Name = (self.namespace.clone(), map.into());
        let fact = self.objects.config_maps.get(&name);
        self.made.config_maps.push(name);

        let value =
            fact.and_then(|fact| fact.data.get("ca.crt").or_else(|| fact.data.get("tls.ca")));
        let value = value.ok_or_else(|| Problem {
            reason: Reason::ConfigMapNotFound,
            field: field.to_owned(),
            why: format!("ConfigMap {map} does not exist, or has neither ca.crt nor tls.ca"),
        })?;
        append(certificates, value.as_bytes());
        Ok(())
    }

    /// Reads the certificate that backends get if they ask for one.
    fn identity(&mut self, fields: &mut Fields<'_>) -> Result<Option<Identity>, Problem> {
        const LACKS: &str = "has no tls.crt with tls.key";
        const FIELD: &str = "certificatesSecrets";

        let secret = match fields.texts(FIELD)?[..] {
            [] => return Ok(None),
            [secret] => secret,
            _ => return Err(fields.unsupported(FIELD, "backends get one certificate")),
        };

        let name: Name = (self.namespace.clone(), secret.into());
        self.made.secrets.push(name.clone());
        let problem = |(reason, why)| Problem {
            reason,
            field: fields.field(FIELD),
            why,
        };

        let fact = secrets::find(self.objects, &name, LACKS).map_err(problem)?;
        let identity = secrets::identity(self.objects, &name, fact).map_err(problem)?;
        let lacks = || problem((Reason::InvalidSecret, format!("Secret {secret} {LACKS}")));
        identity.map(Some).ok_or_else(lacks)
    }

    /// Reads the versions of TLS and the suites of TLS 1.2; without any suite TLS 1.3 is left.
    fn versions(
        &mut self,
        fields: &mut Fields<'_>,
    ) -> Result<(TlsVersions, Option<Box<[u16]>>), Problem> {
        const MAX: &str = "maxVersion";
        let least = version(fields, "minVersion")?.unwrap_or(10);
        let most = version(fields, MAX)?.unwrap_or(13);
        let versions = match (least, most) {
            (_, 10 | 11) => return Err(fields.unsupported(MAX, "gatelet has TLS 1.2 and 1.3")),
            (13, 12) => return Err(fields.invalid(MAX, "it is below minVersion")),
            (13, _) => TlsVersions::Only13,
            (_, 12) => TlsVersions::Only12,
            _ => TlsVersions::Both,
        };

        let names = fields.texts("cipherSuites")?;
        if names.is_empty() {
            return Ok((versions, None));
        }
        let (suites, unknown) = ciphers::of_iana(&names);
        if let [first, ..] = &unknown[..] {
            let why = format!("gatelet does not have {first}: it is left out");
            self.note(&fields.field("cipherSuites"), &why);
        }

        match (suites.is_empty(), versions) {
            (false, versions) => Ok((versions, Some(suites))),
            (true, TlsVersions::Only12) => {
                Err(fields.unsupported("cipherSuites", "gatelet has none of them"))
            }
            (true, _) => Ok((TlsVersions::Only13, None)),
        }
    }

    fn timeouts(&mut self, fields: &mut Fields<'_>) -> Result<(), Problem> {
        let Some(mut part) = fields.part("forwardingTimeouts")? else {
            return Ok(());
        };
        // In Traefik no time is no limit.
        let limit = |time: Option<Duration>| match time {
            Some(Duration::ZERO) => Some(Duration::MAX),
            time => time,
        };
        self.made.timeouts = Timeouts {
            connect: limit(part.duration("dialTimeout")?),
            response_header: limit(part.duration("responseHeaderTimeout")?),
            ..Timeouts::default()
        };

        for name in [
            "idleConnTimeout",
            "readIdleTimeout",
            "pingTimeout",
            "readTimeout",
            "writeTimeout",
        ] {
            if part.has(name) {
                let why = "the timeouts under [proxy] in the settings apply";
                self.note(&part.field(name), why);
            }
        }
        part.finish()
    }

    fn note(&mut self, field: &str, why: &str) {
        let message = format!("ServersTransport {}: {field}: {why}", self.subject);
        let reason = traefik::unsupported(Kind::ServersTransport);
        self.report(EventType::Normal, reason, message);
    }

    /// Closes the paths because of a problem.
    fn close(&mut self, Problem { reason, field, why }: &Problem) {
        let field = match &**field {
            "" => String::new(),
            field => format!("{field}: "),
        };
        let message = format!("ServersTransport {}: {field}{why}{CLOSED}", self.subject);
        self.report(EventType::Warning, *reason, message);
        self.made.refusal = Some(Refusal::UnmetBackendTls);
    }

    fn report(&mut self, severity: EventType, reason: Reason, message: String) {
        self.made.findings.push(AnnotationFinding {
            severity,
            reason,
            annotation: self.annotation.into(),
            message,
        });
    }
}

/// Reads a version of TLS as Go names it: 10 for TLS 1.0.
fn version(fields: &mut Fields<'_>, name: &str) -> Result<Option<u8>, Problem> {
    Ok(match fields.text(name)? {
        None => None,
        Some("VersionTLS10") => Some(10),
        Some("VersionTLS11") => Some(11),
        Some("VersionTLS12") => Some(12),
        Some("VersionTLS13") => Some(13),
        Some(_) => return Err(fields.invalid(name, "it is not VersionTLS10 to VersionTLS13")),
    })
}

/// Appends a text in PEM. The one before it may not end with its line.
fn append(to: &mut Vec<u8>, pem: &[u8]) {
    if to.last().is_some_and(|last| *last != b'\n') {
        to.push(b'\n');
    }
    to.extend_from_slice(pem);
}
