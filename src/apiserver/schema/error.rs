//! The errors of decoding, in the words of a real API server.

use serde_json::Value;

use crate::apiserver::protobuf::ProtobufError;

/// A body that is not an object of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes are not an object in their format.
    #[error("the object provided is unrecognized (must be of type {kind}): {why} ({summary})")]
    Unrecognized {
        kind: &'static str,
        why: BodyError,
        /// The beginning of the body.
        summary: String,
    },
    /// An Event of the other group: Events are in two.
    #[error(
        "the API version in the data ({found}) does not match the expected API version ({expected})"
    )]
    ApiVersion {
        found: String,
        expected: &'static str,
    },
    /// An object of another kind, or one with a value that its field cannot hold.
    #[error("{found} in version \"{version}\" cannot be handled as a {kind}: {why}")]
    Unhandled {
        /// The kind that the body names.
        found: String,
        /// Its version without the group.
        version: String,
        kind: &'static str,
        why: Box<Mismatch>,
    },
}

impl DecodeError {
    /// Returns the field that cannot be decoded, as strict decoding names it: `spec.ports[0].port`.
    /// Empty if the error is about the whole body.
    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Unrecognized { why, .. } => match why {
                BodyError::Member { member, .. } => member,
                _ => "",
            },
            Self::Unhandled { why, .. } => match &**why {
                Mismatch::Field(mismatch) => &mismatch.path,
                Mismatch::UnknownKind { .. } => "",
            },
            Self::ApiVersion { .. } => "",
        }
    }

    /// Returns the reason alone, without the kind and version of the body.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unhandled { why, .. } => why.to_string(),
            other => other.to_string(),
        }
    }
}

/// `DeleteOptions` that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
}

/// A body that is not an object in its format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("couldn't get version/kind; json parse error: {0}")]
    Json(String),
    #[error(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into an object"
    )]
    NotAnObject { found: &'static str },
    /// `apiVersion` or `kind` is not a string.
    #[error(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} \
         into Go struct field .{member} of type string"
    )]
    Member {
        found: &'static str,
        member: &'static str,
    },
    #[error("yaml: {0}")]
    Yaml(String),
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
}

/// The difference between an object and the kind that it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    #[error("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"gatelet\"")]
    UnknownKind { kind: String, version: String },
    #[error(transparent)]
    Field(#[from] FieldMismatch),
}

/// A field that cannot hold its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct FieldMismatch {
    /// Its path, as strict decoding names it.
    pub(crate) path: String,
    pub(crate) why: ValueError,
}

/// A value that the Go type of its field cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error(
        "json: cannot unmarshal {found} into Go struct field {parent}.{field} of type {expected}"
    )]
    Type {
        found: String,
        /// Go's name of the struct.
        parent: String,
        /// The path of the field, as Go's JSON decoder names it.
        field: String,
        expected: String,
    },
    #[error(
        "parsing time {time} as \"2006-01-02T15:04:05Z07:00\": cannot parse {time} as \"2006\""
    )]
    Time { time: Value },
    #[error("illegal base64 data at input byte {at}")]
    Base64 { at: usize },
}

/// A member that strict decoding refuses, with its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrictProblem {
    #[error("unknown field \"{0}\"")]
    Unknown(String),
    #[error("duplicate field \"{0}\"")]
    Duplicate(String),
}

impl StrictProblem {
    /// Returns the path of the field: `spec.rules[0].host`.
    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Unknown(field) | Self::Duplicate(field) => field,
        }
    }
}
