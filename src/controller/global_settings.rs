//! Reads the ConfigMap of ingress-nginx: defaults of annotations, and what applies to every
//! Ingress beside its own annotations.

use super::{
    Reason,
    annotations::{self, GlobalAnnotation},
    config_maps::{self, NO},
    facts::ConfigMapFact,
    globals::GlobalSettings,
    nginx_config,
    objects::{Name, Objects},
    peers,
};
use crate::{objects::EventType, routing::Refusal};

/// The prefix of ingress-nginx.
const NGINX: &str = "nginx.ingress.kubernetes.io/";
const OURS: &str = "gatelet.dev/";

/// The meaning of a key.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// The default of the annotation with this name.
    Default(&'static str),
    /// The same of one of our own.
    Own(&'static str),
    /// Networks that never come in.
    Denied,
    /// Texts of a field of requests, with which none comes in.
    Blocked(&'static str),
    /// Configuration of nginx in every location.
    Snippet,
    /// Names of fields that clients do not get.
    Hidden,
    /// The ConfigMap with fields that this directive sets.
    Fields(&'static str),
    /// A guard that is not supported, if the value is not one for "no".
    Guard,
    /// Configuration of nginx elsewhere, which may be a guard.
    OtherSnippet,
    /// A setting of gatelet has this part.
    Setting(&'static str),
}

/// The keys whose annotation has the same name.
const SAME_NAME: &[&str] = &[
    "custom-http-errors",
    "denylist-source-range",
    "disable-proxy-intercept-errors",
    "force-ssl-redirect",
    "limit-rate",
    "limit-rate-after",
    "load-balance",
    "preserve-trailing-slash",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-cookie-domain",
    "proxy-cookie-path",
    "proxy-next-upstream",
    "proxy-next-upstream-tries",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "relative-redirects",
    "service-upstream",
    "ssl-redirect",
    "use-port-in-redirects",
    "whitelist-source-range",
];

/// The other keys.
const KEYS: &[(&str, Meaning)] = &[
    ("add-headers", Meaning::Fields("add_header")),
    ("brotli-level", Meaning::Own("brotli-level")),
    ("brotli-min-length", Meaning::Own("brotli-min-length")),
    ("brotli-types", Meaning::Own("brotli-types")),
    ("block-cidrs", Meaning::Denied),
    ("block-referers", Meaning::Blocked("$http_referer")),
    ("block-user-agents", Meaning::Blocked("$http_user_agent")),
    ("enable-brotli", Meaning::Own("brotli")),
    ("enable-modsecurity", Meaning::Guard),
    ("enable-owasp-modsecurity-crs", Meaning::Guard),
    (
        "global-auth-always-set-cookie",
        Meaning::Default("auth-always-set-cookie"),
    ),
    (
        "global-auth-cache-duration",
        Meaning::Default("auth-cache-duration"),
    ),
    ("global-auth-cache-key", Meaning::Default("auth-cache-key")),
    ("global-auth-method", Meaning::Default("auth-method")),
    (
        "global-auth-request-redirect",
        Meaning::Default("auth-request-redirect"),
    ),
    (
        "global-auth-response-headers",
        Meaning::Default("auth-response-headers"),
    ),
    ("global-auth-signin", Meaning::Default("auth-signin")),
    (
        "global-auth-signin-redirect-param",
        Meaning::Default("auth-signin-redirect-param"),
    ),
    ("global-auth-snippet", Meaning::OtherSnippet),
    ("global-auth-url", Meaning::Default("auth-url")),
    ("gzip-level", Meaning::Own("gzip-level")),
    ("gzip-min-length", Meaning::Own("gzip-min-length")),
    ("gzip-types", Meaning::Own("gzip-types")),
    ("hide-headers", Meaning::Hidden),
    ("hsts", Meaning::Setting("hsts")),
    ("hsts-include-subdomains", Meaning::Setting("hsts")),
    ("hsts-max-age", Meaning::Setting("hsts")),
    ("hsts-preload", Meaning::Setting("hsts")),
    ("http-snippet", Meaning::OtherSnippet),
    (
        "limit-conn-status-code",
        Meaning::Setting("proxy.limit_status"),
    ),
    (
        "limit-req-status-code",
        Meaning::Setting("proxy.limit_status"),
    ),
    ("location-snippet", Meaning::Snippet),
    ("main-snippet", Meaning::OtherSnippet),
    ("modsecurity-snippet", Meaning::Guard),
    (
        "proxy-real-ip-cidr",
        Meaning::Setting("proxy.trusted_proxies"),
    ),
    ("proxy-set-headers", Meaning::Fields("proxy_set_header")),
    ("server-snippet", Meaning::OtherSnippet),
    ("stream-snippet", Meaning::OtherSnippet),
    (
        "use-forwarded-headers",
        Meaning::Setting("proxy.trusted_proxies"),
    ),
    ("use-gzip", Meaning::Own("gzip")),
    (
        "use-proxy-protocol",
        Meaning::Setting("proxy.proxy_protocol_from"),
    ),
];

/// Reads the ConfigMap that the settings name.
pub(super) fn read(objects: &Objects) -> GlobalSettings {
    let Some(name) = &objects.settings.nginx_configmap else {
        return GlobalSettings::default();
    };
    let Some(fact) = objects.config_maps.get(name) else {
        let message = format!(
            "the ConfigMap {}/{} that nginx_configmap in the settings names does not exist, or is \
             not shown: the paths return 503",
            name.0, name.1
        );
        return GlobalSettings {
            closed: Some((Reason::ConfigMapNotFound, Refusal::InvalidGuard, message)),
            ..GlobalSettings::default()
        };
    };

    let mut reader = Reader {
        objects,
        fact,
        out: GlobalSettings {
            is_read: true,
            ..GlobalSettings::default()
        },
    };
    for (key, value) in &fact.data {
        reader.key(key, value.trim());
    }
    reader.out
}

struct Reader<'a> {
    objects: &'a Objects,
    fact: &'a ConfigMapFact,
    out: GlobalSettings,
}

impl Reader<'_> {
    fn key(&mut self, key: &str, value: &str) {
        let same = SAME_NAME.iter().find(|name| **name == key);
        let meaning = same.map(|name| Meaning::Default(name));
        let meaning = meaning.or_else(|| {
            let known = KEYS.iter().find(|(name, _)| *name == key);
            known.map(|(_, meaning)| *meaning)
        });

        match meaning {
            _ if value.is_empty() => {}
            Some(Meaning::Default(name)) => self.add(key, name, value, false),
            Some(Meaning::Own(name)) => self.add_named(key, format!("{OURS}{name}"), value, false),
            Some(Meaning::Denied) => self.add(key, "denylist-source-range", value, true),
            Some(Meaning::Snippet) => self.add(key, "configuration-snippet", value, true),
            Some(Meaning::Blocked(variable)) => match blocked(variable, value) {
                Some(snippet) => self.add(key, "configuration-snippet", &snippet, true),
                None => self.close(key, format!("{value:?} is not a list of texts")),
            },
            Some(Meaning::Hidden) => {
                let names = value.split([',', ' ']).filter(|name| !name.is_empty());
                let lines: String = names
                    .map(|name| format!("proxy_hide_header {};\n", quoted(name)))
                    .collect();
                self.add(key, "configuration-snippet", &lines, true);
            }
            Some(Meaning::Fields(directive)) => self.fields(key, directive, value),
            Some(Meaning::Guard) if NO.contains(&value) => {}
            Some(Meaning::Guard) => self.unsupported(key),
            Some(Meaning::OtherSnippet) => {
                let parsed = nginx_config::parse(value);
                match parsed.is_some_and(|all| all.iter().all(nginx_config::is_harmless)) {
                    true => self.note(key, "configuration of nginx is not applied".to_owned()),
                    false => self.unsupported(key),
                }
            }
            Some(Meaning::Setting(setting)) => {
                let message = format!("it has no effect here: {setting} in the settings decides");
                self.note(key, message);
            }
            None if peers::suggests_a_guard(key) && !NO.contains(&value) => self.unsupported(key),
            None => self.note(key, "it has no effect here".to_owned()),
        }
    }

    /// Adds the value of an annotation, if it is valid.
    fn add(&mut self, key: &str, name: &str, value: &str, always: bool) {
        self.add_named(key, format!("{NGINX}{name}"), value, always);
    }

    fn add_named(&mut self, key: &str, name: String, value: &str, always: bool) {
        let entry = (name.as_str().into(), value.into());
        let mut values = annotations::read(std::slice::from_ref(&entry));

        if let Some((_, directive)) = values.snippet.unknown.take() {
            let message = format!("{directive} has no equivalent");
            self.guard(key, message);
            return;
        }

        let mut findings = values.findings.iter();
        let invalid = findings.find(|one| one.reason == Reason::InvalidAnnotation);
        if let Some(finding) = invalid {
            let message = finding.message.clone();
            match values.is_closed {
                true => self.close(key, message),
                false => self.report(key, EventType::Warning, message),
            }
            return;
        }

        let (name, value) = entry;
        self.out.annotations.push(GlobalAnnotation {
            name,
            value,
            always,
        });
    }

    /// Adds the fields of another ConfigMap.
    fn fields(&mut self, key: &str, directive: &str, value: &str) {
        let Some((namespace, name)) = value.split_once('/') else {
            self.close(key, format!("{value:?} is not of the form namespace/name"));
            return;
        };
        let map: Name = (namespace.into(), name.into());
        self.out.maps.push(map.clone());

        let lines = match config_maps::fields(self.objects, &map) {
            Ok(fields) => fields.into_iter().map(|(name, value)| {
                format!("{directive} {} {};\n", quoted(name.as_str()), quoted(value))
            }),
            Err((_, message)) => {
                self.close(key, message);
                return;
            }
        };
        let lines: String = lines.collect();
        self.add(key, "configuration-snippet", &lines, true);
    }

    /// Closes every path because of a guard that is not supported, unless the settings ignore it.
    fn unsupported(&mut self, key: &str) {
        self.guard(key, "it asks for a guard that is not supported".to_owned());
    }

    fn guard(&mut self, key: &str, message: String) {
        match config_maps::ignored(self.objects, &message) {
            Some(note) => self.note(key, note),
            None => self.close(key, message),
        }
    }

    fn close(&mut self, key: &str, message: String) {
        let (namespace, name) = (&self.fact.about.key.namespace, &self.fact.about.key.name);
        let all = format!(
            "data[{key}] of ConfigMap {namespace}/{name}, which nginx_configmap in the settings \
             names: {message}: the paths return 503"
        );
        let closed = (Reason::UnsupportedGuard, Refusal::UnsupportedGuard, all);
        self.out.closed.get_or_insert(closed);

        let message = format!("{message}: the paths of all Ingresses return 503");
        self.report(key, EventType::Warning, message);
    }

    fn note(&mut self, key: &str, message: String) {
        self.report(key, EventType::Normal, message);
    }

    fn report(&mut self, key: &str, severity: EventType, message: String) {
        let finding = config_maps::finding(self.fact, key, severity, message);
        self.out.findings.push(finding);
    }
}

/// Returns the directives that refuse requests with a field: a list of texts, and of regular
/// expressions behind `~` or `~*`. Texts are compared without case, as by a `map` of nginx.
fn blocked(variable: &str, list: &str) -> Option<String> {
    let texts = list
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let lines = texts.map(|text| {
        let (operator, pattern) = match (text.strip_prefix("~*"), text.strip_prefix('~')) {
            (Some(pattern), _) => ("~*", pattern.trim().to_owned()),
            (None, Some(pattern)) => ("~", pattern.trim().to_owned()),
            (None, None) => ("~*", format!("^{}$", regex::escape(text))),
        };

        let pattern = quoted(&pattern);
        format!("if ({variable} {operator} {pattern}) {{ return 403; }}\n")
    });
    let lines: String = lines.collect();
    (!lines.is_empty()).then_some(lines)
}

/// Returns a text as one word of nginx configuration.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_users_lists_every_key() {
        let page = include_str!("../../docs/migrating.md");
        let keys = KEYS.iter().map(|(key, _)| key);
        for key in keys.chain(SAME_NAME) {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }
}
