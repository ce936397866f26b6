//! Middlewares that redirect: `redirectScheme` and `redirectRegex`.

use std::sync::Arc;

use super::{Fields, Making, Problem, paths::pattern};
use crate::routing::{RequestStep, UrlForm, UrlRedirect};

/// The fields of a request that are part of its URL.
const OF_URL: &[&str] = &["host", "x-forwarded-proto"];

impl Making<'_> {
    pub(super) fn redirect_scheme(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        self.unchanged(&fields, OF_URL)?;
        let https = match fields.needed("scheme")? {
            "https" => true,
            "http" => false,
            _ => return Err(fields.unsupported("scheme", "it is neither http nor https")),
        };
        let default = if https { 443 } else { 80 };
        let port = match fields.text("port")? {
            None => None,
            Some(text) => {
                let port = text.parse::<u16>();
                let port = port.map_err(|_bad| fields.invalid("port", "it is no port"))?;
                (port != default).then_some(port)
            }
        };
        let permanent = fields.flag("permanent")?;
        fields.finish()?;

        if https && self.made.steps.is_empty() {
            self.made.redirects_plain = true;
        }
        self.redirect(UrlForm::Scheme { https, port }, permanent);
        Ok(())
    }

    pub(super) fn redirect_regex(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        self.unchanged(&fields, OF_URL)?;
        let text = fields.needed("regex")?;
        let pattern = pattern(&fields, "regex", text)?;
        let by = fields.text("replacement")?.unwrap_or_default();
        let permanent = fields.flag("permanent")?;
        fields.finish()?;
        self.redirect(UrlForm::Replaced(pattern, by.into()), permanent);
        Ok(())
    }

    fn redirect(&mut self, to: UrlForm, permanent: bool) {
        let from = self.from();
        let redirect = UrlRedirect {
            from,
            to,
            permanent,
        };
        self.step(RequestStep::RedirectUrl(Arc::new(redirect)));
    }
}
