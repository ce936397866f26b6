//! The server that gets copies of requests.

use std::{mem, sync::Arc};

use super::{Compiler, Reason};
use crate::{
    controller::{
        annotations::{AnnotationFinding, AnnotationValues},
        references::References,
        server_url::{ServerUrl, UrlServer},
        servers,
    },
    objects::EventType,
    routing::{Mirror, Variables},
};

/// The name of the annotation, for notes about the others.
const TARGET: &str = "mirror-target";

impl Compiler<'_> {
    /// Makes the mirror that annotations ask for. One that cannot be made is a finding, and the
    /// paths are served without it.
    pub(super) fn mirror(&mut self, values: &mut AnnotationValues) -> Option<Arc<Mirror>> {
        let mirror = mem::take(&mut values.mirror);
        let mut from = mirror.from;
        from.sort_unstable();
        let Some(url) = mirror.target else {
            values
                .findings
                .extend(AnnotationFinding::without(TARGET, &from));
            return None;
        };

        let mut references = References::default();
        let found = servers::find(
            self.objects,
            self.backends,
            &mut references,
            &self.name.0,
            &url.server,
        );
        self.out.follow(references);
        let host = mirror.host.or_else(|| own_host(&url));
        let missing = || (Reason::InvalidAnnotation, "it has no host".to_owned());
        let made = found.and_then(|found| {
            let server = found.server.ok_or_else(missing)?;
            Ok((server.backend, host.ok_or_else(missing)?))
        });
        match made {
            Ok((backend, host)) => Some(Arc::new(Mirror {
                from: from.join(", ").into(),
                adds_query: !url.target.as_str().contains('$'),
                url: url.text,
                backend,
                target: url.target,
                host,
                has_body: !mirror.leaves_out_body,
            })),
            Err((reason, message)) => {
                let about = from.iter().find(|name| name.ends_with(TARGET));
                let about = about.map_or(TARGET, |name| &**name);
                let message = message + ": requests are not copied";
                values.report(EventType::Warning, reason, about, message);
                None
            }
        }
    }
}

/// Returns the host of a URL, as ingress-nginx sends it: without its port.
fn own_host(url: &ServerUrl) -> Option<Variables> {
    let host = match &url.server {
        UrlServer::OwnHost => return None,
        UrlServer::Service {
            host: Some(host), ..
        }
        | UrlServer::Host { host, .. } => host.to_string(),
        UrlServer::Service { name, .. } => name.to_string(),
    };
    Variables::parse(&host).ok()
}
