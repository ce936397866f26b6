//! The middleware `errors`: pages of a Service in place of errors.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{Fields, Making, Problem};
use crate::{
    controller::{objects::Name, pages},
    objects::slim::BackendPort,
    routing::{BackendRef, ErrorPages, Page, PageUrl, Protocol, RequestStep, Statuses},
};

/// Fields of a Service without which its pages are the same.
const SAME_PAGES: &[&str] = &[
    "healthCheck",
    "nativeLB",
    "nodePortLB",
    "passiveHealthCheck",
    "responseForwarding",
    "sticky",
    "strategy",
    "weight",
];

impl Making<'_> {
    pub(super) fn errors(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const WHAT: &str = "it is not a list of statuses like 404 and 500-599";
        let statuses = Statuses::parse(fields.texts("status")?);
        let statuses = statuses.filter(|statuses| !statuses.is_empty());
        let statuses = statuses.ok_or_else(|| fields.invalid("status", WHAT))?;

        let rewrites = fields.numbers("statusRewrites")?.into_iter();
        let rewrites = rewrites.map(|(from, to)| {
            let to = u16::try_from(to).ok()?;
            let to = StatusCode::from_u16(to).ok()?;
            let is_final = (200..600).contains(&to.as_u16());
            is_final.then_some((Statuses::parse([from])?, to))
        });
        let rewrites: Option<Vec<_>> = rewrites.collect();
        let rewrites = rewrites.ok_or_else(|| fields.invalid("statusRewrites", WHAT))?;

        let query = fields.text("query")?.unwrap_or_default();
        let service = fields.part("service")?;
        let service = service.ok_or_else(|| fields.invalid("service", "it is missing"))?;
        let (backend, host) = self.page_service(service)?;
        let url = PageUrl::new(query, rewrites, host);
        let wrong = "it is not a path, with or without a query";
        let url = url.ok_or_else(|| fields.invalid("query", wrong))?;
        fields.finish()?;

        self.step(RequestStep::Errors(Arc::new(ErrorPages {
            from: self.from(),
            statuses,
            backend,
            of_backends: true,
            stands_in: false,
            page: Page::At(url),
        })));
        Ok(())
    }

    /// Returns the backend of the Service with the pages, and `Host` for it.
    fn page_service(
        &mut self,
        mut fields: Fields<'_>,
    ) -> Result<(BackendRef, Option<HeaderValue>), Problem> {
        if fields.text("kind")?.is_some_and(|kind| kind != "Service") {
            return Err(fields.unsupported("kind", "it is not Service"));
        }
        let name = fields.needed("name")?;
        let own = self.namespace();
        if fields
            .text("namespace")?
            .is_some_and(|other| other != &*own)
        {
            let why = "it is not the namespace of the Middleware";
            return Err(fields.unsupported("namespace", why));
        }
        let port = fields.port("port")?;
        let protocol = match fields.text("scheme")? {
            None => None,
            Some("http") => Some(Protocol::Http1),
            Some("https") => Some(Protocol::Https),
            Some("h2c") => Some(Protocol::H2c),
            Some(_) => return Err(fields.invalid("scheme", "it is not http, https or h2c")),
        };
        let host = match fields.choice("passHostHeader")? {
            // The name of the Service: its endpoints have addresses alone.
            Some(false) => HeaderValue::from_str(name).ok(),
            _ => None,
        };

        fields.absent("serversTransport", "the settings have its terms")?;
        fields.absent("middlewares", "the Ingress names Middlewares")?;
        for same in SAME_PAGES {
            if fields.has(same) {
                self.note(&fields.field(same), "pages are the same without it");
            }
        }

        let service: Name = (own, name.into());
        let references = &mut self.made.references;
        let found = pages::backend(
            self.objects,
            self.backends,
            references,
            &service,
            (port, protocol),
        );
        let backend = found.map_err(|(reason, why)| Problem {
            reason,
            field: fields.field("name"),
            why,
        })?;
        fields.finish()?;
        Ok((backend, host))
    }
}

impl Fields<'_> {
    /// Returns the port of a Service: its number or its name.
    fn port(&mut self, name: &str) -> Result<Option<BackendPort>, Problem> {
        self.typed(name, "a port", |value| match value.as_str() {
            Some(text) => Some(
                text.parse()
                    .map_or_else(|_name| BackendPort::of_name(text), BackendPort::of_number),
            ),
            None => {
                let number = u16::try_from(value.as_u64()?).ok()?;
                Some(BackendPort::of_number(number))
            }
        })
    }
}
