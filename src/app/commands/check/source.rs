//! Reads files and standard input, and parses their documents.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::objects::documents::{self, Content, Document, Place};

/// Files larger than this are not objects.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// The error of the system.
    pub source: io::Error,
}

/// A file or standard input.
#[derive(Debug)]
pub(super) struct Source {
    path: Option<PathBuf>,
    /// True if the command line names the file itself, false if it names a folder.
    pub(super) named: bool,
}

impl Source {
    /// Resolves arguments to sources: files, folders with their `*.yaml`, `*.yml` and `*.json`, and
    /// `-` for standard input.
    pub(super) fn find(arguments: &[PathBuf]) -> Result<Vec<Self>, ReadError> {
        let mut sources = Vec::new();

        for path in arguments {
            if path.as_os_str() == "-" {
                sources.push(Self {
                    path: None,
                    named: true,
                });
            } else if fs::metadata(path)
                .map_err(|source| cannot_read(path, source))?
                .is_dir()
            {
                collect(path, &mut sources)?;
            } else {
                sources.push(Self {
                    path: Some(path.clone()),
                    named: true,
                });
            }
        }

        Ok(sources)
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> Arc<str> {
        match &self.path {
            Some(path) => path.display().to_string().into(),
            None => "standard input".into(),
        }
    }

    /// Reads its documents and unpacks lists. Comments alone are not a document.
    pub(super) fn documents(&self) -> Result<Vec<Document>, ReadError> {
        let path = self
            .path
            .as_deref()
            .unwrap_or_else(|| Path::new("standard input"));
        let bytes = self.read().map_err(|source| cannot_read(path, source))?;

        let whole = |content| {
            let place = Place {
                file: self.name(),
                document: 1,
                line: 1,
            };
            Ok(vec![Document {
                place,
                content: Content::Broken(content),
            }])
        };

        if bytes.len() as u64 > MAX_FILE {
            return whole(format!("it is over {MAX_FILE} bytes"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(documents::parse(
                &self.name(),
                text.trim_start_matches('\u{feff}'),
            )),
            Err(_binary) => whole("it is not text in UTF-8".to_owned()),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let input: Box<dyn Read> = match &self.path {
            Some(path) => Box::new(fs::File::open(path)?),
            None => Box::new(io::stdin().lock()),
        };
        let mut bytes = Vec::new();
        input.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn cannot_read(path: &Path, source: io::Error) -> ReadError {
    ReadError {
        path: path.to_owned(),
        source,
    }
}

/// Collects the files below a folder in order. Hidden folders and links to folders are skipped.
fn collect(folder: &Path, sources: &mut Vec<Source>) -> Result<(), ReadError> {
    let entries = fs::read_dir(folder).map_err(|source| cannot_read(folder, source))?;
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();

    for entry in entries {
        let is_folder = fs::symlink_metadata(&entry).is_ok_and(|found| found.is_dir());
        let is_hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_known = entry
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");

        if is_folder && !is_hidden {
            collect(&entry, sources)?;
        } else if is_known && entry.is_file() {
            sources.push(Source {
                path: Some(entry),
                named: false,
            });
        }
    }
    Ok(())
}
