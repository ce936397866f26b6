//! Findings about files of the folder.

use std::fmt;

/// A file, or an object in it, that is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the folder.
    pub file: String,
    /// The number of the document, counted from 1; `None` for the whole file.
    pub document: Option<usize>,
    /// Kind, namespace and name, such as `Ingress shop/web`; empty for the whole file.
    pub object: String,
    /// The kind of problem.
    pub reason: Reason,
    /// The field concerned; empty for the whole object.
    pub field: String,
    /// The cause in one sentence.
    pub message: String,
}

/// The kind of a [`Finding`]. `docs/findings.md` lists them for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The API refuses the object.
    Invalid,
    /// The file cannot be read or parsed, so nothing in it is applied.
    Unreadable,
    /// An earlier file has the same object.
    Duplicate,
    /// The file is skipped for now, without harm.
    Skipped,
}

impl Reason {
    /// Returns the name that reports use. It is stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Unreadable => "Unreadable",
            Self::Duplicate => "Duplicate",
            Self::Skipped => "Skipped",
        }
    }

    /// Returns true if the finding is merely worth knowing.
    pub fn is_note(self) -> bool {
        self == Self::Skipped
    }
}

impl Finding {
    /// Makes a finding about a whole file.
    pub(super) fn of_file(file: &str, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            document: None,
            object: String::new(),
            reason,
            field: String::new(),
            message: message.into(),
        }
    }

    /// Returns the file, the document and the object, as reports name them.
    pub fn place(&self) -> Place<'_> {
        Place(self)
    }

    /// Writes it to the log.
    pub(super) fn log(&self) {
        let (object, reason) = (self.place(), self.reason.as_str());
        let (field, message) = (&*self.field, &*self.message);
        match self.reason.is_note() {
            true => tracing::info!(%object, reason, field, message, "finding"),
            false => tracing::warn!(%object, reason, field, message, "finding"),
        }
    }
}

/// The file, the document and the object of a finding: `web.yaml, document 2: Ingress shop/web`.
#[derive(Clone, Copy, Debug)]
pub struct Place<'f>(&'f Finding);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            file,
            document,
            object,
            ..
        } = self.0;
        f.write_str(file)?;
        if let Some(document) = document {
            write!(f, ", document {document}")?;
        }
        if !object.is_empty() {
            write!(f, ": {object}")?;
        }
        Ok(())
    }
}
