//! Configuration of nginx in annotations: the usual directives become the steps that they stand
//! for. Nothing else of it is executed.

mod responses;
mod translation;

use self::translation::{Translation, Unknown, directives, field_name, is_as_it_is, known, lists};
use super::{
    external::external,
    fields::add,
    row::{Annotation, NGINX, OLD, row},
    traffic::idle,
    values::{AnnotationValues, ServerSnippet, ServerValues, SnippetValues},
};
use crate::{
    controller::{Reason, nginx_config::Directive},
    objects::EventType,
    routing::Variables,
};

/// The same for the server that checks logins.
const AS_IT_IS_FOR_LOGINS: &[(&str, &[&str])] = &[
    (
        "x-forwarded-host",
        &["$host", "$http_host", "$best_http_host"],
    ),
    ("x-forwarded-method", &["$request_method"]),
    ("x-original-method", &["$request_method"]),
];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[row(
    &[NGINX, OLD],
    "configuration-snippet",
    "directives of nginx",
    "`add_header`, `more_set_headers`, `more_clear_headers`, `proxy_hide_header`, \
     `proxy_set_header`, `allow`, `deny`, `return` with a redirect, a text or a status, the \
     same in `if`, `proxy_read_timeout`, `proxy_send_timeout`, `proxy_connect_timeout` and \
     `client_max_body_size` become steps; a finding shows them. Further ones about responses, \
     buffers and timeouts have no effect.",
    |values, name, value| {
        read(values, name, value);
        Ok(())
    },
)
.differs(
    "Nothing of it is executed. Any other directive closes the paths, and the finding names it. \
     Fields of responses replace those of the backend, whatever the status.",
), row(
    &[NGINX, OLD],
    "auth-snippet",
    "`proxy_set_header` of nginx",
    "The server of `auth-url` gets these fields too, in place of those of the client; variables \
     may stand in the values.",
    |values, name, value| {
        read_of_login(values, name, value);
        Ok(())
    },
)
.differs("Any other directive closes the paths."), row(
    &[NGINX, OLD],
    "server-snippet",
    "directives of nginx",
    "For all paths of the hosts of the rules: `return`, the same in `if` and `location`, \
     `deny all` in `location`, `add_header`, `more_set_headers`, `more_clear_headers`, \
     `proxy_hide_header`, `allow` and `deny` become steps before those of the paths; a finding \
     shows them. Directives that ingress-nginx sets for each path, such as `proxy_set_header` and \
     timeouts, have no effect, as there.",
    |values, name, value| {
        read_of_server(values, name, value);
        Ok(())
    },
)
.differs(
    "Nothing of it is executed. Any other directive closes the hosts. Those of several Ingresses \
     apply together; one of another namespace than that which had the host first applies to its \
     own paths alone. Lists of addresses apply beside those of the paths.",
)];

/// Reads a snippet. It applies as a whole, or not at all.
fn read(values: &mut AnnotationValues, name: &str, text: &str) {
    match Translation::of_location(name, text) {
        Ok(made) => apply(made, values, name),
        Err(Unknown(what)) => values.snippet.unknown = Some((name.into(), what)),
    }
}

/// Reads a snippet for the requests to the server that checks logins.
fn read_of_login(values: &mut AnnotationValues, name: &str, text: &str) {
    let sets = |directive: &Directive| {
        let (field, value) = match (&directive.words[..], &directive.block) {
            ([set, field, value], None) if set == "proxy_set_header" => {
                (field_name(field)?, Variables::parse(value).ok()?)
            }
            _ => return None,
        };
        if !is_as_it_is(AS_IT_IS_FOR_LOGINS, field.as_str(), value.as_str()) {
            external(values, name).sets.push((field, value));
        }
        Some(())
    };
    if let Err(Unknown(what)) = directives(text).and_then(|all| known(&all, sets)) {
        values.snippet.unknown = Some((name.into(), what));
    }
}

/// Makes the settings of a `configuration-snippet`.
fn apply(made: Translation, values: &mut AnnotationValues, name: &str) {
    report(&made, values, name);
    for (field, value) in made.response {
        match value {
            Some(value) => {
                // Above the most fields of an Ingress it is as an invalid annotation.
                let added = add(&mut values.fields.response, name, vec![(field, value)]);
                if added.is_err() {
                    values.snippet.unknown = Some((name.into(), "too many fields".into()));
                }
            }
            None => values.snippet.hidden.push(field),
        }
    }

    if made.host.is_some() {
        values.host = made.host.map(|host| (name.into(), host));
    }

    let (denied, allowed) = lists(&made.networks).unwrap_or_default();
    if !made.networks.is_empty() {
        values.access.from.push(name.into());
        values.access.denied.extend(denied);
        values.access.allowed.extend(allowed);
    }

    values.compression.gzip.replace(made.compression.gzip);
    values.compression.brotli.replace(made.compression.brotli);
    if made.connect.is_some() {
        values.policy.timeouts.connect = made.connect;
    }
    for time in made.idle {
        idle(values, time);
    }
    if made.body.is_some() {
        values.policy.max_body_bytes = made.body;
    }

    values.snippet = SnippetValues {
        from: Some(name.into()),
        ..std::mem::take(&mut values.snippet)
    };
    values.snippet.conditionals.extend(made.conditionals);
    values.snippet.request.extend(made.request);
}

/// Reads a snippet for whole hosts.
fn read_of_server(values: &mut AnnotationValues, name: &str, text: &str) {
    values.server_snippet = match Translation::of_server(name, text) {
        Ok(made) => {
            report(&made, values, name);
            let (denied, allowed) = lists(&made.networks).unwrap_or_default();
            ServerSnippet::Known(Box::new(ServerValues {
                from: name.into(),
                responses: made.conditionals,
                denied,
                allowed,
                fields: made.response,
            }))
        }
        Err(Unknown(what)) => ServerSnippet::Unknown(name.into(), what),
    };
}

/// Reports what a snippet does here, and what of it has no effect.
fn report(made: &Translation, values: &mut AnnotationValues, name: &str) {
    let mut message = String::new();
    if !made.made.is_empty() {
        message += &format!("done here: {}", made.made.join("; "));
    }
    if !made.idle_directives.is_empty() {
        let separator = if message.is_empty() { "" } else { ". " };
        let without = made.idle_directives.join("; ");
        message += &format!("{separator}without effect here: {without}");
    }

    if !message.is_empty() {
        values.report(EventType::Normal, Reason::TranslatedSnippet, name, message);
    }
}
