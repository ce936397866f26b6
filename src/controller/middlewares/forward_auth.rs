//! The middleware `forwardAuth`: a login that another server checks.

use std::sync::Arc;

use http::{HeaderName, Method};

use super::{Fields, Making, Problem, Step};
use crate::{
    controller::{
        external_auth::MadeAuth,
        server_url::ServerUrl,
        servers::{self, FoundServer},
    },
    routing::{
        AuthCookieTerms, AuthDialect, AuthFailure, AuthMethod, AuthTarget, ExternalAuth, FieldNames,
    },
};

/// The fields that the server gets about the request.
const FORWARDED: &[&str] = &[
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-uri",
];

impl Making<'_> {
    pub(super) fn forward_auth(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let trusts = fields.choice("trustForwardHeader")?;
        self.unchanged(
            &fields,
            if trusts == Some(true) {
                &FORWARDED[..1]
            } else {
                FORWARDED
            },
        )?;

        let address = fields.needed("address")?;
        if address.contains('$') {
            return Err(fields.invalid("address", "it has a variable"));
        }
        let url = ServerUrl::parse(address);
        let url = url.map_err(|error| fields.invalid("address", error.to_string()))?;

        let method = match fields.flag("preserveRequestMethod")? {
            true => AuthMethod::OfRequest,
            false => AuthMethod::Fixed(Method::GET),
        };
        let sends = fields.texts("authRequestHeaders")?;
        let sends = match sends.is_empty() {
            true => None,
            false => Some(Arc::new(names(&fields, "authRequestHeaders", &sends)?)),
        };
        let mut copies = fields.texts("authResponseHeaders")?;
        let expression = fields.text("authResponseHeadersRegex")?;
        let simple = expression.map(|text| {
            let simple = simple_names(text);
            let why = "only ^Name and ^Name$ are supported, with the name as it is sent";
            simple.ok_or_else(|| fields.unsupported("authResponseHeadersRegex", why))
        });
        let simple = simple.transpose()?;
        copies.extend(simple.as_deref());
        let copies = Arc::new(names(&fields, "authResponseHeaders", &copies)?);

        let cookies = fields.texts("addAuthCookiesToResponse")?;
        let cookies = cookies.into_iter().map(Into::into).collect();
        for (name, why) in [
            (
                "tls",
                "certificates of the server are verified as the settings say",
            ),
            ("forwardBody", "the server gets no body"),
            (
                "authSigninURL",
                "the response of the server leads to the login",
            ),
        ] {
            fields.absent(name, why)?;
        }
        for (name, why) in [
            ("headerField", "the access log has no users"),
            ("maxBodySize", "the server gets no body"),
            (
                "maxResponseBodySize",
                "its response is passed on as it comes",
            ),
        ] {
            if fields.has(name) {
                self.note(&fields.field(name), why);
            }
        }
        // The target of a redirect stays as the server sends it.
        fields.flag("preserveLocationHeader")?;

        let namespace = self.namespace();
        let references = &mut self.made.references;
        let found = servers::find(
            self.objects,
            self.backends,
            references,
            &namespace,
            &url.server,
        );
        let FoundServer { server, own_host } = found.map_err(|(reason, why)| Problem {
            reason,
            field: fields.field("address"),
            why,
        })?;
        fields.finish()?;

        for name in copies.iter() {
            self.made.changed.push(name.into());
        }
        let auth = ExternalAuth {
            from: self.from(),
            url: url.text.clone(),
            to: AuthTarget::of(server),
            target: url.target.clone(),
            method,
            sends,
            adds: None,
            dialect: AuthDialect::Traefik {
                hides_prefix: trusts == Some(false),
            },
            redirect: None,
            copies,
            failure: AuthFailure::PassOn(FieldNames::all()),
            cookies: AuthCookieTerms::Named(cookies),
            cache: None,
            or: None,
        };
        self.made
            .steps
            .push(Step::Auth(MadeAuth::new(auth, own_host)));
        Ok(())
    }
}

fn names(fields: &Fields<'_>, of: &str, names: &[&str]) -> Result<FieldNames, Problem> {
    let parsed = FieldNames::parse(&names.join(","));
    parsed.map_err(|error| fields.invalid(of, error.to_string()))
}

/// Returns the names that an expression finds, if it is a simple one: a beginning of names, or a
/// whole name, as Go writes them (`X-User`).
fn simple_names(text: &str) -> Option<String> {
    let rest = text.strip_prefix('^')?;
    let (literal, end) = match rest.strip_suffix('$') {
        Some(rest) => match rest.strip_suffix(".*") {
            Some(literal) => (literal, "*"),
            None => (rest, ""),
        },
        None => (rest.strip_suffix(".*").unwrap_or(rest), "*"),
    };

    HeaderName::from_bytes(literal.as_bytes()).ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let mut is_start = true;
    let is_sent = literal.bytes().all(|byte| {
        let is_right = match is_start {
            true => !byte.is_ascii_lowercase(),
            false => !byte.is_ascii_uppercase(),
        };
        is_start = byte == b'-';
        is_right && is_plain(byte)
    });
    is_sent.then(|| format!("{literal}{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_expressions_are_names() {
        for (text, expected) in [
            ("^X-", Some("X-*")),
            ("^X-.*", Some("X-*")),
            ("^X-Auth-.*$", Some("X-Auth-*")),
            ("^X-User$", Some("X-User")),
            ("^x-user$", None),
            ("^X-user", None),
            ("X-User", None),
            ("^X-(User|Group)$", None),
            ("^.*$", None),
            ("^", None),
        ] {
            assert_eq!(simple_names(text).as_deref(), expected, "{text}");
        }
    }
}
