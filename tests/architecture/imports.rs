//! The paths that a file names, as far as a reader without a compiler can tell.

use std::collections::BTreeSet;

/// Returns every path below `crate::` that a file of this module names, in imports and elsewhere:
/// `proxy::pool::Pool`. A name of another crate comes out as one below the module. With
/// `reexports`, also those that it only passes on.
pub(crate) fn paths(module: &[String], text: &str, reexports: bool) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    let mut code = String::new();

    // Imports, whose trees may go over several lines; the rest is code.
    let mut lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        let Some((before, tree)) = line.split_once("use ").filter(|(before, _)| {
            before.trim().is_empty() || before.trim_start().starts_with("pub")
        }) else {
            code.push_str(line);
            code.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        if reexports || before.trim().is_empty() {
            expand(
                module,
                &[],
                tree.split(';').next().unwrap_or_default(),
                &mut paths,
            );
        }
    }

    // Paths within the code.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in code.match_indices("::") {
        let start = code[..at]
            .rfind(|c| !is_word(c))
            .map_or(0, |before| before + 1);
        if code[..start].ends_with(':') {
            continue;
        }
        let path = code[start..]
            .split(|c| !is_word(c) && c != ':')
            .next()
            .unwrap_or_default();
        expand(module, &[], path.trim_end_matches(':'), &mut paths);
    }
    paths
}

/// Adds what a tree of an import stands for: `a::{b, c::{d, e}}` is three paths.
fn expand(module: &[String], prefix: &[&str], tree: &str, out: &mut BTreeSet<Vec<String>>) {
    let tree = tree.trim();
    if let Some((path, group)) = tree.split_once('{') {
        let prefix: Vec<&str> = prefix
            .iter()
            .copied()
            .chain(path.split("::").map(str::trim))
            .collect();
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        for branch in branches(group) {
            expand(module, &prefix, branch, out);
        }
        return;
    }

    let path = prefix
        .iter()
        .copied()
        .chain(tree.split("::").map(str::trim));
    let mut path = path.filter(|segment| !segment.is_empty()).peekable();
    let mut absolute = match path.peek() {
        Some(&"crate") => Vec::new(),
        // Also what is not of this crate, as if it were a module below this one.
        Some(_) => module.to_vec(),
        None => return,
    };
    for segment in path {
        match segment {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.split(" as ").next().unwrap_or(name).to_owned()),
        }
    }
    out.insert(absolute);
}

/// Splits at the commas that are in no braces.
fn branches(group: &str) -> Vec<&str> {
    let (mut all, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                all.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&group[start..]);
    all.retain(|branch| !branch.trim().is_empty());
    all
}

#[test]
fn imports_are_expanded() {
    let module = ["proxy".to_owned(), "serve".to_owned()];
    let text = "use std::fmt;\n\
                use super::{pool::{self, Pool}, worker::Worker};\n\
                use crate::{\n    routing::Host,\n    util::sync::lock as held,\n};\n\
                pub use super::guard::Guard;\n\
                // use crate::admin::Report;\n\
                fn f() -> crate::tls::Settings { super::super::limit::none(child::A) }\n";
    let found: Vec<String> = paths(&module, text, false)
        .iter()
        .map(|path| path.join("::"))
        .filter(|path| !path.starts_with("proxy::serve::std"))
        .collect();
    let expected = [
        "limit::none",
        "proxy::pool",
        "proxy::pool::Pool",
        "proxy::serve::child::A",
        "proxy::worker::Worker",
        "routing::Host",
        "tls::Settings",
        "util::sync::lock",
    ];
    assert_eq!(found, expected);
    assert!(
        paths(&module, text, true).contains(&["proxy", "guard", "Guard"].map(str::to_owned)[..])
    );
}
