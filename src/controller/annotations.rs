//! The annotations that gatelet implements, in tables from names to parsers. A test prints the page
//! for users (`docs/annotations.md`) from them. `peers` has the annotations of other controllers
//! that are not implemented.

mod access;
mod backend_tls;
mod buffers;
mod canary;
mod certificates;
mod checks;
mod client_certificates;
mod compression;
mod cors;
mod errors;
mod external;
mod fields;
mod groups;
mod hosts;
mod https;
mod limits;
mod middlewares;
mod mirror;
mod rewrite;
mod row;
mod snippets;
mod sticky;
mod tcp;
mod traffic;
mod value;
mod values;

use std::sync::LazyLock;

pub(super) use compression::compression;
pub(super) use fields::{FORBIDDEN as FORBIDDEN_FIELDS, redirect};
pub use row::Annotation;
use row::ON_SERVICES;
use value::{InvalidValue, guards};
pub(super) use values::{
    AccessValues, AnnotationFinding, AnnotationValues, BackendTlsValues, CanaryAnnotations,
    CheckAnnotations, Choice, ClientValues, CorsValues, ElsewhereValues, ExternalValues,
    GroupAnnotations, HttpsValues, LimitAnnotations, LoginValues, NamedAuthorities, OauthValues,
    PathKind, SentName, ServerSnippet, ServerValues, StickyAnnotations,
};

use super::{Reason, UnsupportedGuards};
use crate::{
    objects::{EventType, Texts},
    pki::RenewBefore,
};

/// The annotation with the class of an Ingress, older than `ingressClassName`.
pub(super) const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// The annotation that decides about unsupported guards.
pub(super) const UNSUPPORTED_GUARDS: &str = "gatelet.dev/unsupported-guards";

/// The prefixes that the names in parameters of an IngressClass may lack: the first under which a
/// name is known counts.
pub(super) const CLASS_PREFIXES: [&str; 3] = [row::HAPROXY, row::OURS, row::HAPROXY_TECHNOLOGIES];

/// A table of annotations about one thing.
#[derive(Debug)]
pub struct AnnotationTable {
    /// Its title, for people.
    pub title: &'static str,
    /// Its rows. If several set the same thing, the upper one applies; of guards all do.
    pub rows: &'static [Annotation],
}

/// All annotations that gatelet implements.
pub const ANNOTATIONS: &[AnnotationTable] = &[
    AnnotationTable {
        title: "HTTPS and backends",
        rows: https::ROWS,
    },
    AnnotationTable {
        title: "TLS to backends",
        rows: backend_tls::ROWS,
    },
    AnnotationTable {
        title: "Who may come in",
        rows: access::ROWS,
    },
    AnnotationTable {
        title: "Logins that another server checks",
        rows: external::ROWS,
    },
    AnnotationTable {
        title: "Certificates of clients",
        rows: client_certificates::ROWS,
    },
    AnnotationTable {
        title: "Middlewares of Traefik",
        rows: middlewares::ROWS,
    },
    AnnotationTable {
        title: "Redirects and hosts",
        rows: traffic::TARGETS,
    },
    AnnotationTable {
        title: "Further hosts",
        rows: hosts::ROWS,
    },
    AnnotationTable {
        title: "Paths",
        rows: rewrite::ROWS,
    },
    AnnotationTable {
        title: "Fields of requests and responses",
        rows: fields::ROWS,
    },
    AnnotationTable {
        title: "Compression",
        rows: compression::ROWS,
    },
    AnnotationTable {
        title: "Configuration of nginx",
        rows: snippets::ROWS,
    },
    AnnotationTable {
        title: "Pages in place of errors",
        rows: errors::ROWS,
    },
    AnnotationTable {
        title: "Copies of requests",
        rows: mirror::ROWS,
    },
    AnnotationTable {
        title: "Pages of other origins (CORS)",
        rows: cors::ROWS,
    },
    AnnotationTable {
        title: "The choice of an endpoint",
        rows: sticky::ROWS,
    },
    AnnotationTable {
        title: "Health checks",
        rows: checks::ROWS,
    },
    AnnotationTable {
        title: "Groups of endpoints (blue-green)",
        rows: groups::ROWS,
    },
    AnnotationTable {
        title: "A part of the requests (canary)",
        rows: canary::ROWS,
    },
    AnnotationTable {
        title: "TCP in place of HTTP",
        rows: tcp::ROWS,
    },
    AnnotationTable {
        title: "How much",
        rows: limits::ROWS,
    },
    AnnotationTable {
        title: "How long and how large",
        rows: traffic::LIMITS,
    },
    AnnotationTable {
        title: "Buffers of nginx",
        rows: buffers::ROWS,
    },
    AnnotationTable {
        title: "Certificates",
        rows: certificates::ROWS,
    },
];

/// Returns the rows of all tables.
fn rows() -> impl DoubleEndedIterator<Item = &'static Annotation> {
    ANNOTATIONS.iter().flat_map(|table| table.rows)
}

/// Returns true if this module reads an annotation on Ingresses. `peers` handles the others.
pub(super) fn is_known(name: &str) -> bool {
    let is_of_ingresses = |(.., row): &(usize, usize, &Annotation)| !row.is_of_services;
    name == OLD_CLASS
        || name.starts_with(certificates::CERT_MANAGER)
        || find(name).as_ref().is_some_and(is_of_ingresses)
}

/// Returns true for annotations of Ingresses that have a meaning of their own on Services, for
/// gatelet or for other programs.
pub(super) fn is_usual_on_services(name: &str) -> bool {
    let of_cert_manager = [certificates::CERT_MANAGER, certificates::CERT_MANAGER_ACME];
    [OLD_CLASS, UNSUPPORTED_GUARDS].contains(&name)
        || of_cert_manager
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Returns true if this module reads an annotation on Services.
pub(super) fn is_known_on_services(name: &str) -> bool {
    let is_read_there = || ON_SERVICES.iter().any(|prefix| name.starts_with(prefix));
    is_guard_on_services(name)
        || find(name)
            .is_some_and(|(.., row)| row.is_of_services || row.is_on_services && is_read_there())
}

/// Returns true if this module reads an annotation on Services that restricts who may come in.
pub(super) fn is_guard_on_services(name: &str) -> bool {
    let guards = access::ROWS.iter().chain(external::ROWS);
    let mut guards = guards.chain(client_certificates::ROWS);
    let mut is_ours = |rest: &str| guards.any(|row| row.is(rest));
    let on_services = ON_SERVICES.iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix(row::OURS).is_some_and(&mut is_ours);
    find(name).is_some_and(|(.., row)| row.is_guard && (row.is_of_services || on_services))
}

/// Returns true if an annotation of Ingresses restricts who may come in by more than addresses, or
/// responds in place of the backend.
pub(super) fn is_guard_of_requests(name: &str) -> bool {
    let is_of_tcp = |row: &Annotation| tcp::ROWS.iter().any(|one| one.name == row.name);
    let found = find(name).filter(|(.., row)| row.is_guard && !is_of_tcp(row));
    found.is_some() && !is_list_of_addresses(name)
}

/// Returns true if the annotation is a list of addresses that may come in, or may not.
pub(super) fn is_list_of_addresses(name: &str) -> bool {
    let own = name.rsplit_once('/').map_or(name, |(_domain, own)| own);
    access::LISTS.contains(&own)
}

/// Returns how an annotation that gatelet implements differs from the same one of the controller
/// that it comes from: an empty text for not at all.
pub(super) fn difference(name: &str) -> Option<&'static str> {
    find(name).map(|(.., row)| row.difference)
}

/// Returns true if an annotation is our own.
pub(super) fn is_our_own(name: &str) -> bool {
    name.starts_with(row::OURS)
}

/// Returns the decision of a Service about unsupported guards. An invalid value refuses.
pub(super) fn guards_of_service(annotations: &Texts) -> Option<UnsupportedGuards> {
    annotations
        .get(UNSUPPORTED_GUARDS)
        .map(|value| guards(value.trim()).unwrap_or_default())
}

/// An annotation that applies to every Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GlobalAnnotation {
    /// Its name with the prefix. A row has it.
    pub(super) name: Box<str>,
    /// Its value, which is valid.
    pub(super) value: Box<str>,
    /// True if it applies beside that of the Ingress, and not only in place of it.
    pub(super) always: bool,
}

/// Reads the annotations that were kept.
pub(super) fn read(annotations: &[(Box<str>, Box<str>)]) -> AnnotationValues {
    read_with(annotations, [])
}

/// Reads the annotations that were kept, and those of all Ingresses.
pub(super) fn read_with<'a>(
    annotations: &'a [(Box<str>, Box<str>)],
    global: impl IntoIterator<Item = &'a GlobalAnnotation>,
) -> AnnotationValues {
    let mut values = AnnotationValues::default();
    let mut found: Vec<Found<'_>> = Vec::new();
    for (name, value) in annotations.iter().filter(|(name, _)| **name != *OLD_CLASS) {
        match find(name) {
            Some(found_one) => found.push((found_one, name, value, false)),
            None => values.report(
                EventType::Normal,
                Reason::UnknownAnnotation,
                name,
                "gatelet does not know this annotation: it has no effect".to_owned(),
            ),
        }
    }

    let has_login = external::decides(annotations);
    for one in global {
        let Some(row) = find(&one.name) else { continue };
        let name = row.2.main_name();
        let is_login = external::ROWS.iter().any(|other| other.name == name);
        let mut names = found.iter().map(|((.., other), ..)| other.main_name());
        let is_set = names.any(|other| other == name) || is_login && has_login;
        if one.always || !is_set {
            found.push((row, &one.name, &one.value, true));
        }
    }

    read_rows(&mut values, found);

    // A certificate that is due from its first second would be ordered again and again.
    if let (Some(whole), Some((name, RenewBefore::Time(before)))) =
        (values.duration, &values.renew_before)
        && *before >= whole
    {
        let name = name.clone();
        values.renew_before = None;
        values.report(
            EventType::Warning,
            Reason::InvalidAnnotation,
            &name,
            InvalidValue::RenewalTooEarly.to_string(),
        );
    }

    values
}

/// Reads the annotations of an Ingress, and those of the Service of a path in place of them: the
/// changes and terms of its requests. Findings are not for them.
pub(super) fn read_of_path<'a>(
    annotations: &[(Box<str>, Box<str>)],
    of_service: &[(Box<str>, Box<str>)],
    global: impl IntoIterator<Item = &'a GlobalAnnotation>,
) -> AnnotationValues {
    // Guards are made on their own, but for those that change requests. An invalid value takes no
    // place of one of the Ingress.
    let is_of_requests = |row: &Annotation| !row.is_guard || row.is_on_services;
    let rows = of_service.iter().filter_map(|(name, value)| {
        let found = find(name).filter(|(.., row)| is_of_requests(row))?;
        let read = (found.2.read)(&mut AnnotationValues::default(), name, value.trim());
        read.is_ok().then_some((found, &**name, &**value, false))
    });
    let mut rows: Vec<Found<'_>> = rows.collect();
    let has = |name: &str| {
        let own = find(name).map(|(at, ..)| at);
        rows.iter().any(|((at, ..), ..)| own == Some(*at))
    };
    let left = annotations.iter().filter(|(name, _)| !has(name));
    let left: Vec<(Box<str>, Box<str>)> = left.cloned().collect();

    let global: Vec<&GlobalAnnotation> = global.into_iter().collect();
    let mut values = read_with(&left, global);
    // Sessions that only Services have come after a session of the Ingress.
    let has_session = values.sticky.from.is_some() || values.sticky.hash.is_some();
    let is_session = |row: &Annotation| sticky::ROWS.iter().any(|one| one.name == row.name);
    rows.retain(|((.., row), ..)| !(has_session && row.is_of_services && is_session(row)));
    read_rows(&mut values, rows);
    values
}

/// An annotation that was found in the tables: the place of its row, its name and value, and true
/// for one of all Ingresses.
type Found<'a> = ((usize, usize, &'static Annotation), &'a str, &'a str, bool);

/// Reads annotations. The last value that is read applies, so the upper row is read last.
fn read_rows(values: &mut AnnotationValues, mut found: Vec<Found<'_>>) {
    found.sort_by(|((a, a_prefix, _), ..), ((b, b_prefix, _), ..)| {
        (b, b_prefix).cmp(&(a, a_prefix))
    });
    for ((_, _, row), name, value, is_global) in found {
        let known = values.findings.len();
        let read = (row.read)(values, name, value.trim());
        if is_global {
            // The ConfigMap has its findings itself.
            values.findings.truncate(known);
        }
        let Err(error) = read else {
            continue;
        };
        let mut message = error.to_string();
        if row.is_guard {
            values.is_closed = true;
            message += CLOSED;
        }
        values.report(EventType::Warning, Reason::InvalidAnnotation, name, message);
    }
}

/// The end of a message about a guard that is not valid.
pub(super) const CLOSED: &str = ": the paths return 503";

/// Returns the place of an annotation in the tables: its row, prefix, and the row itself.
fn find(name: &str) -> Option<(usize, usize, &'static Annotation)> {
    // Traefik takes its names in upper and lower case.
    let is_mixed = name.starts_with(row::TRAEFIK) && name.bytes().any(|b| b.is_ascii_uppercase());
    let lower = is_mixed.then(|| name.to_ascii_lowercase());
    let name = lower.as_deref().unwrap_or(name);

    // Every prefix ends with its only slash.
    let (_, rest) = name.split_once('/')?;
    let prefix = &name[..name.len() - rest.len()];

    let Names { whole, begun } = &*NAMES;
    let start = whole.partition_point(|(_, row)| row.name < rest);
    let whole = whole[start..].iter();
    let same = whole.take_while(|(_, row)| row.name == rest);
    let begun = begun.iter().filter(|(_, row)| row.is(rest));
    let found = same.chain(begun).filter_map(|(at, row)| {
        let is = |one: &&str| *one == prefix;
        Some((*at, row.prefixes.iter().position(is)?, *row))
    });
    found.min_by_key(|(at, ..)| *at)
}

/// The rows with their places, in an order in which they are found soon: thousands of objects have
/// annotations.
struct Names {
    /// Those with whole names, in the order of these and of their places.
    whole: Vec<(usize, &'static Annotation)>,
    /// Those whose names end with any text.
    begun: Vec<(usize, &'static Annotation)>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let (begun, mut whole): (Vec<_>, Vec<_>) = rows()
        .enumerate()
        .partition(|(_, row)| row.name.ends_with('*'));
    whole.sort_by_key(|(_, row)| row.name);
    Names { whole, begun }
});
