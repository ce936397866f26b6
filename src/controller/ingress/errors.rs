//! The backend that responds in place of errors.

use std::{mem, sync::Arc};

use super::{Compiler, Reason, default_backend};
use crate::{
    controller::{annotations::AnnotationValues, objects::Name, pages, references::References},
    objects::{EventType, slim::BackendPort},
    routing::{BackendRef, ErrorPages, Page},
};

/// The end of a message about pages that are not used.
const AS_THEY_ARE: &str = ": errors are passed on as they are";

impl Compiler<'_> {
    /// Makes the pages that annotations ask for. Those that cannot be made are a finding.
    pub(super) fn error_pages(&mut self, values: &mut AnnotationValues) -> Option<Arc<ErrorPages>> {
        let errors = mem::take(&mut values.errors);
        let (statuses_from, statuses) = errors.statuses.unzip();
        let (service_from, service) = errors.service.unzip();
        let from: Vec<Box<str>> = [&statuses_from, &service_from]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let about = service_from.as_ref().or(statuses_from.as_ref())?;

        let stands_in = service.is_some();
        let found = match service {
            Some(name) => {
                let service = (self.name.0.clone(), (*name).into());
                self.page_backend(service, None)
            }
            None => match default_backend(&self.objects.settings) {
                Some((service, port)) => self.page_backend(service, Some(port)),
                None => Err((
                    Reason::UnsupportedAnnotation,
                    "there is no default-backend".to_owned(),
                )),
            },
        };
        match found {
            Ok(backend) => Some(Arc::new(ErrorPages {
                from: from.join(", ").into(),
                statuses: statuses.into_iter().flatten().collect(),
                of_backends: !errors.is_off,
                stands_in,
                backend,
                page: Page::Root,
            })),
            Err((reason, message)) => {
                let message = message + AS_THEY_ARE;
                values.report(EventType::Warning, reason, about, message);
                None
            }
        }
    }

    /// Returns the backend of a Service, and follows it.
    fn page_backend(
        &mut self,
        service: Name,
        port: Option<BackendPort>,
    ) -> Result<BackendRef, (Reason, String)> {
        let mut references = References::default();
        let found = pages::backend(
            self.objects,
            self.backends,
            &mut references,
            &service,
            (port, None),
        );
        self.out.follow(references);
        found
    }
}
