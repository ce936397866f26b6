//! Request bodies: bytes to a JSON value, with what strict decoding has to complain about.

use serde_json::Value;

use crate::objects::Kind;

/// The form of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// A decoded body.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    /// The object.
    pub(crate) value: Value,
    /// Strict problems, each as the real server words it: `unknown field "spec.x"`, `duplicate field "spec.y"`.
    pub(crate) unknown: Vec<String>,
}

/// The body is not an object of the kind; the text is the real server's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(pub(crate) String);

/// Decodes a request body.
pub(crate) fn decode(_kind: Kind, content_type: ContentType, body: &[u8]) -> Result<Decoded, DecodeError> {
    let value = match content_type {
        ContentType::Json => serde_json::from_slice(body).map_err(|error| DecodeError(error.to_string()))?,
        ContentType::Yaml => serde_saphyr::from_slice(body).map_err(|error| DecodeError(error.to_string()))?,
        ContentType::Protobuf => return Err(DecodeError("protobuf bodies are not understood yet".to_owned())),
    };
    Ok(Decoded { value, unknown: Vec::new() })
}
