//! gRPC-Web: gRPC for web pages, which see no trailers.

/// The terms on which requests of gRPC-Web become those of gRPC, as Traefik's middleware `grpcWeb`
/// has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcWeb {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The origins whose pages may read the responses, each as it is sent; `*` for all.
    pub origins: Box<[Box<str>]>,
}

/// The two forms of gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcWebForm {
    /// `application/grpc-web`: bodies as they are.
    Binary,
    /// `application/grpc-web-text`: bodies in Base64.
    Text,
}

impl GrpcWeb {
    /// Reports whether pages of an origin may read the responses.
    pub fn allows(&self, origin: &[u8]) -> bool {
        let mut origins = self.origins.iter();
        origins.any(|known| &**known == "*" || known.as_bytes() == origin)
    }
}

impl GrpcWebForm {
    /// Finds the form that a `Content-Type` names; `None` if it is not gRPC-Web.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let is = |form: &Self| content_type.starts_with(form.media_type().as_bytes());
        // The longer one first: the other is its beginning.
        [Self::Text, Self::Binary].into_iter().find(is)
    }

    /// Returns its media type, without the format of the messages.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web",
            Self::Text => "application/grpc-web-text",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_content_type() {
        for (content_type, expected) in [
            ("application/grpc-web", Some(GrpcWebForm::Binary)),
            ("application/grpc-web+proto", Some(GrpcWebForm::Binary)),
            ("application/grpc-web-text+proto", Some(GrpcWebForm::Text)),
            ("application/grpc", None),
            ("", None),
        ] {
            assert_eq!(GrpcWebForm::of(content_type.as_bytes()), expected);
        }
    }
}
