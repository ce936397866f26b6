//! The middleware `headers`: fields of requests and responses, and CORS.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{Fields, Making, Problem, paths::pattern};
use crate::{
    controller::annotations,
    routing::{
        AllowedList, OriginTerms, RemovedField, RequestStep, ResponseStep, SetField, SetHost,
    },
};

/// Fields that only mean something for a check that Traefik has, or for browsers of long ago.
const HARMLESS: &[(&str, &str)] = &[
    ("hostsProxyHeaders", "it has no effect without allowedHosts"),
    (
        "sslProxyHeaders",
        "the setting trusted_proxies decides who names the scheme",
    ),
    (
        "forceSTSHeader",
        "over plain HTTP browsers pass over Strict-Transport-Security",
    ),
    ("publicKey", "no browser reads Public-Key-Pins any more"),
    ("featurePolicy", "permissionsPolicy is in its place"),
];

/// Fields of Traefik 2 that redirected or refused, and the check of hosts.
const GUARDS: &[(&str, &str)] = &[
    (
        "allowedHosts",
        "gatelet does not check hosts beside those of the rules",
    ),
    ("sslRedirect", "a Middleware with redirectScheme redirects"),
    (
        "sslTemporaryRedirect",
        "a Middleware with redirectScheme redirects",
    ),
    ("sslForceHost", "a Middleware with redirectRegex redirects"),
    ("sslHost", "a Middleware with redirectRegex redirects"),
];

/// Fields of responses with the value of a text, and their names.
const TEXTS: &[(&str, &str)] = &[
    ("contentSecurityPolicy", "content-security-policy"),
    (
        "contentSecurityPolicyReportOnly",
        "content-security-policy-report-only",
    ),
    ("referrerPolicy", "referrer-policy"),
    ("permissionsPolicy", "permissions-policy"),
];

impl Making<'_> {
    pub(super) fn headers(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        for (name, why) in GUARDS {
            fields.absent(name, *why)?;
        }
        for (name, why) in HARMLESS {
            if fields.has(name) {
                self.note(&fields.field(name), why);
            }
        }

        let mut responses = self.secure(&mut fields)?;
        for (text, value) in fields.pairs("customResponseHeaders")? {
            let name = name(&fields, "customResponseHeaders", text)?;
            responses.push(match value {
                "" => ResponseStep::RemoveField(name),
                _ => {
                    let value = field_value(&fields, "customResponseHeaders", value)?;
                    ResponseStep::SetField(self.field(name, value))
                }
            });
        }

        let origin = self.origin_terms(&mut fields)?;
        let requests = self.requests(&mut fields)?;
        fields.finish()?;

        if let Some(terms) = origin {
            let terms = Arc::new(terms);
            self.step(RequestStep::OriginPreflight(terms.clone()));
            responses.push(ResponseStep::Origin(terms));
        }
        for step in requests {
            self.step(step);
        }
        // The response passes the Middlewares from the last one to the first one.
        self.made.responses.splice(0..0, responses);
        Ok(())
    }

    /// Returns the steps on requests.
    fn requests(&mut self, fields: &mut Fields<'_>) -> Result<Vec<RequestStep>, Problem> {
        const OF: &str = "customRequestHeaders";
        let mut steps = Vec::new();
        for (text, value) in fields.pairs(OF)? {
            if text.eq_ignore_ascii_case("host") {
                if value.is_empty() {
                    self.note(&fields.field(OF), "a request always has a Host");
                    continue;
                }
                let value = field_value(fields, OF, value)?;
                let from = self.from();
                steps.push(RequestStep::Host(Arc::new(SetHost { from, value })));
                self.made.changed.push("host".into());
                continue;
            }

            let name = name(fields, OF, text)?;
            self.made.changed.push(name.as_str().into());
            steps.push(match value {
                "" => {
                    let from = self.from();
                    RequestStep::RemoveField(Arc::new(RemovedField { from, name }))
                }
                _ => {
                    let value = field_value(fields, OF, value)?;
                    RequestStep::SetField(self.field(name, value))
                }
            });
        }
        Ok(steps)
    }

    /// Returns the steps that make browsers careful.
    fn secure(&mut self, fields: &mut Fields<'_>) -> Result<Vec<ResponseStep>, Problem> {
        let mut set: Vec<(HeaderName, String)> = Vec::new();
        let deny = fields.flag("frameDeny")?.then_some("DENY");
        let frame = fields.text("customFrameOptionsValue")?.or(deny);
        set.extend(frame.map(|value| (http::header::X_FRAME_OPTIONS, value.to_owned())));
        if fields.flag("contentTypeNosniff")? {
            set.push((http::header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()));
        }
        let filter = fields.flag("browserXssFilter")?.then_some("1; mode=block");
        let filter = fields.text("customBrowserXSSValue")?.or(filter);
        set.extend(filter.map(|value| (http::header::X_XSS_PROTECTION, value.to_owned())));

        for (field, name) in TEXTS {
            let Some(text) = fields.text(field)? else {
                continue;
            };
            if text.contains("$NONCE") {
                return Err(fields.unsupported(field, "gatelet makes no nonces"));
            }
            set.push((HeaderName::from_static(name), text.to_owned()));
        }

        let seconds = fields.number("stsSeconds")?.unwrap_or_default();
        let (subdomains, preload) = (
            fields.flag("stsIncludeSubdomains")?,
            fields.flag("stsPreload")?,
        );
        if !fields.flag("isDevelopment")? && seconds > 0 {
            let mut text = format!("max-age={seconds}");
            text += if subdomains {
                "; includeSubDomains"
            } else {
                ""
            };
            text += if preload { "; preload" } else { "" };
            let value = field_value(fields, "stsSeconds", &text)?;
            // That of the first Middleware is set last.
            self.made.hsts.get_or_insert(value);
        }

        let steps = set.into_iter().map(|(name, text)| {
            let value = field_value(fields, name.as_str(), &text)?;
            Ok(ResponseStep::SetField(self.field(name, value)))
        });
        steps.collect()
    }

    /// Returns the terms of CORS, if there are any.
    fn origin_terms(&self, fields: &mut Fields<'_>) -> Result<Option<OriginTerms>, Problem> {
        let credentials = fields.flag("accessControlAllowCredentials")?;
        let origins = fields.texts("accessControlAllowOriginList")?;
        let patterns = fields.texts("accessControlAllowOriginListRegex")?;
        let patterns = patterns
            .into_iter()
            .map(|text| pattern(fields, "accessControlAllowOriginListRegex", text))
            .collect::<Result<_, _>>()?;

        let mut list = |name: &str| {
            let words = fields.texts(name)?;
            if words.is_empty() {
                return Ok(None);
            }
            if credentials && words.contains(&"*") {
                return Ok(Some(AllowedList::AsAsked));
            }
            let value = field_value(fields, name, &words.join(","))?;
            Ok(Some(AllowedList::Listed(value)))
        };
        let (headers, methods, expose) = (
            list("accessControlAllowHeaders")?,
            list("accessControlAllowMethods")?,
            list("accessControlExposeHeaders")?,
        );
        let expose = match expose {
            Some(AllowedList::Listed(value)) => Some(value),
            Some(AllowedList::AsAsked) | None => None,
        };
        let max_age = fields.number("accessControlMaxAge")?.map(HeaderValue::from);
        let terms = OriginTerms {
            from: Box::default(),
            origins: origins.into_iter().map(Into::into).collect(),
            patterns,
            credentials,
            methods,
            headers,
            expose,
            max_age,
            varies: fields.flag("addVaryHeader")?,
        };

        if terms == OriginTerms::default() {
            return Ok(None);
        }
        self.unchanged(fields, &["origin", "access-control-request-method"])?;
        let from = self.from();
        Ok(Some(OriginTerms { from, ..terms }))
    }

    fn field(&self, name: HeaderName, value: HeaderValue) -> Arc<SetField> {
        let from = self.from();
        Arc::new(SetField { from, name, value })
    }
}

/// Returns the name of a field that can be set.
pub(super) fn name(fields: &Fields<'_>, of: &str, text: &str) -> Result<HeaderName, Problem> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name =
        name.map_err(|_bad| fields.invalid(of, format!("{text:?} is no name of a field")))?;
    if annotations::FORBIDDEN_FIELDS.contains(&name.as_str()) {
        let why = format!("{text} is not a field that can be set");
        return Err(fields.unsupported(of, why));
    }
    Ok(name)
}

fn field_value(fields: &Fields<'_>, of: &str, text: &str) -> Result<HeaderValue, Problem> {
    let value = HeaderValue::from_str(text.trim());
    value.map_err(|_control| fields.invalid(of, "a value has a character that no field has"))
}
