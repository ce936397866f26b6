//! A request as it goes to an endpoint, and its response.

use std::sync::Arc;

use http::{
    HeaderValue, Method, Request, Uri, Version,
    header::{CONTENT_LENGTH, TE},
    uri::{PathAndQuery, Scheme},
};

use super::{
    h1::{HeadWriter, RequestWriter},
    pool::UpstreamKey,
    session::Session,
};
use crate::{
    proxy::{
        conn::ConnInfo,
        copies::BodyCopy,
        request::{
            body::{Received, RequestBody},
            error::{Error, Kind},
            fields::{FieldName, append},
            headers,
            message::{BodyLength, RequestHead, ResponseHead},
            outside::Outside,
            terms::Terms,
        },
        settings::Settings,
    },
    routing::{Backend, NamedGroups, Protocol},
};

/// The results of checking and routing a request.
pub(crate) struct Matched<'a> {
    pub(crate) backend: &'a Arc<Backend>,
    pub(crate) terms: Terms,
    /// The session that chooses the endpoint.
    pub(crate) session: Option<&'a Session<'a>>,
    /// The groups of endpoints that the request names.
    pub(crate) groups: Option<&'a NamedGroups<'a>>,
    /// Host (and port) as the client wrote them.
    pub(crate) host: &'a [u8],
    /// The scheme and port by which the client reaches us.
    pub(crate) outside: Outside,
    /// The normalised path.
    pub(crate) path: &'a str,
    /// The query as it came, without its `?`.
    pub(crate) query: Option<&'a str>,
    /// `Upgrade` to pass on.
    pub(crate) upgrade: Option<Vec<u8>>,
    /// True if its body is in Base64, and is sent decoded.
    pub(crate) is_base64: bool,
    pub(crate) request_id: &'a [u8],
    /// Our name in `CDN-Loop`.
    pub(crate) loop_id: &'a [u8],
    /// The changes to its fields.
    pub(crate) changes: headers::Changes,
    /// The collector of its body, if a mirror gets that too.
    pub(crate) copy: Option<Box<BodyCopy>>,
}

/// The head of a request in the form for its endpoints. It lacks the framing of the body.
pub(super) enum UpstreamHead {
    H1(HeadWriter),
    /// Boxed: it is large, and each future that it passes through would reserve space for it.
    H2(Box<Request<()>>),
}

/// A request in the form for its endpoints.
pub(super) enum UpstreamRequest {
    /// `None` once it has a response.
    H1(Option<RequestWriter>),
    /// Boxed: it is large, and each future that it passes through would reserve space for it.
    H2 {
        head: Box<Request<()>>,
        /// `None` while it is sent, and once a part of it was sent.
        body: Option<RequestBody>,
    },
}

/// The head of a response as it goes to the client, and the source of its body.
pub(super) struct UpstreamResponse {
    pub(super) head: ResponseHead,
    pub(super) received: Received,
    /// The protocol that follows on the connection, if the status is 101.
    pub(super) upgrade: Option<Vec<u8>>,
}

impl UpstreamHead {
    /// Writes the head in the form that the protocol of its backend asks for.
    ///
    /// # Errors
    /// The host or the path cannot be expressed in HTTP/2, or the backend is for a port.
    pub(super) fn new(
        settings: &Settings,
        conn: &ConnInfo,
        matched: &Matched<'_>,
        head: &RequestHead,
    ) -> Result<Self, Error> {
        match matched.backend.protocol() {
            Protocol::Http1 | Protocol::Https => {
                Ok(Self::H1(matched.head_h1(settings, conn, head)))
            }
            Protocol::H2c | Protocol::H2 => {
                Ok(Self::H2(Box::new(matched.head_h2(settings, conn, head)?)))
            }
            Protocol::Tcp | Protocol::Tls | Protocol::Udp | Protocol::ByScheme => {
                let why = "the backend is for a port, not for requests";
                Err(Error::us(Kind::Misconfigured(why)))
            }
        }
    }

    /// Adds the body.
    pub(super) fn with_body(
        self,
        method: &Method,
        length: BodyLength,
        body: RequestBody,
    ) -> UpstreamRequest {
        match self {
            Self::H1(head) => {
                UpstreamRequest::H1(Some(RequestWriter::new(method, head, length, body)))
            }
            Self::H2(mut head) => {
                if let BodyLength::Known(length) = length {
                    head.headers_mut().insert(CONTENT_LENGTH, length.into());
                }
                let body = Some(body);
                UpstreamRequest::H2 { head, body }
            }
        }
    }
}

impl UpstreamRequest {
    /// Sets the address of an endpoint as `Host`.
    ///
    /// # Errors
    /// It has a name that cannot be expressed in HTTP/2.
    pub(super) fn address(&mut self, to: &UpstreamKey) -> Result<(), Error> {
        let host = match &to.name {
            Some(name) => format!("{name}:{}", to.addr.port()),
            None => to.addr.to_string(),
        };
        match self {
            Self::H1(None) => {}
            Self::H1(Some(writer)) => writer.set_host(host.as_bytes()),
            Self::H2 { head, .. } => {
                let wrong = || Error::us(Kind::Misconfigured("the endpoint has no valid name"));
                let mut uri = std::mem::take(head.uri_mut()).into_parts();
                uri.authority = Some(host.parse().map_err(|_bad| wrong())?);
                *head.uri_mut() = Uri::from_parts(uri).map_err(|_bad| wrong())?;
            }
        }
        Ok(())
    }
}

impl Matched<'_> {
    /// Writes the head for an HTTP/1.1 endpoint, without the framing of the body.
    fn head_h1(&self, settings: &Settings, conn: &ConnInfo, head: &RequestHead) -> HeadWriter {
        let mut written = HeadWriter::new(&head.method, self.path, self.query);
        written.host(self.host_for_backend());

        headers::write(&head.fields, self.client(settings, conn), |name, value| {
            written.field(name, value);
        });
        if let Some(protocol) = &self.upgrade {
            written.field(b"upgrade", protocol);
            written.field(b"connection", b"upgrade");
        }
        written
    }

    /// Returns the head of the request to an HTTP/2 endpoint.
    fn head_h2(
        &self,
        settings: &Settings,
        conn: &ConnInfo,
        head: &RequestHead,
    ) -> Result<Request<()>, Error> {
        let mut request = Request::new(());
        let fields = request.headers_mut();
        headers::write(&head.fields, self.client(settings, conn), |name, value| {
            append(fields, name, value);
        });
        // gRPC requires it.
        if head.fields.has_token(FieldName::Te, "trailers") {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }

        let scheme = if self.backend.protocol() == Protocol::H2 {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let authority = http::uri::Authority::try_from(self.host_for_backend())
            .map_err(|_bad| Error::client(Kind::BadRequest("bad Host")))?;

        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.path_and_query()?);
        (uri.scheme, uri.authority) = (Some(scheme), Some(authority));
        *request.uri_mut() =
            Uri::from_parts(uri).map_err(|_bad| Error::client(Kind::BadRequest("bad target")))?;
        *request.method_mut() = head.method.clone();
        *request.version_mut() = Version::HTTP_2;

        Ok(request)
    }

    fn host_for_backend(&self) -> &[u8] {
        let changed = self.changes.host.as_ref();
        changed.map_or(self.host, HeaderValue::as_bytes)
    }

    fn client<'c>(&'c self, settings: &'c Settings, conn: &'c ConnInfo) -> headers::Client<'c> {
        headers::Client {
            conn,
            trusted: &settings.trusted_proxies,
            host: self.host,
            outside: self.outside,
            request_id: self.request_id,
            loop_id: self.loop_id,
            changes: &self.changes,
        }
    }

    fn path_and_query(&self) -> Result<PathAndQuery, Error> {
        let target = match self.query {
            Some(query) => format!("{}?{query}", self.path).parse(),
            None => self.path.parse(),
        };
        target.map_err(|_bad| Error::client(Kind::BadRequest("bad path")))
    }
}
