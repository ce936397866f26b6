//! The Rust files of the project, as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file below `src`, `tests`, `benches` or `fuzz`.
pub(crate) struct File {
    /// Its path below the root of the project.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads every Rust file in a folder.
pub(crate) fn files(folder: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();

    let read = |path: PathBuf| File {
        text: fs::read_to_string(&path).expect("text"),
        path: path
            .strip_prefix(root())
            .expect("below the root")
            .to_owned(),
    };
    paths.into_iter().map(read).collect()
}

/// Reads every file in `src` that is not a test.
pub(crate) fn sources() -> Vec<File> {
    files("src")
        .into_iter()
        .filter(|file| !file.is_test())
        .collect()
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

impl File {
    /// Returns the segments of its module path: `["proxy", "guard", "h1"]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let below = self.path.strip_prefix("src").unwrap_or(&self.path);
        let mut segments: Vec<String> = below
            .with_extension("")
            .iter()
            .map(|segment| segment.to_string_lossy().into_owned())
            .collect();
        if segments.last().is_some_and(|last| last == "mod") {
            segments.pop();
        }
        segments
    }

    /// Returns the module of the table that it belongs to: `proxy`.
    pub(crate) fn room(&self) -> String {
        self.module().swap_remove(0)
    }

    /// Returns whether it holds tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// Its lines, numbered from 1, with where they are.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let place = |(number, line)| (format!("{}:{}", self.path.display(), number + 1), line);
        self.text.lines().enumerate().map(place)
    }
}
