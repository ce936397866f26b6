//! Holds `src/` to the module table of `docs/architecture.md` and to the rules that a compiler does
//! not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

/// Every source file with its module (first folder below `src`) and text.
fn files() -> Vec<(PathBuf, String, String)> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let module = |path: &Path| {
        let below = path.strip_prefix(root().join("src")).expect("below src");
        let first = below
            .components()
            .next()
            .expect("not empty")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    paths
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                module(&path),
                fs::read_to_string(&path).expect("text"),
            )
        })
        .collect()
}

fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The table: module to what it may use.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text =
        fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_layer, module, _what, uses] = cells[..] else {
            panic!("a row of four cells: {line}")
        };
        let module = module.trim_matches('`').to_owned();
        let uses = match uses {
            "–" => BTreeSet::new(),
            "all" => order.iter().cloned().collect(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        for used in &uses {
            assert!(
                order.contains(used),
                "`{module}` may use `{used}`, which is not in a row above it"
            );
        }
        order.push(module.clone());
        rows.insert(module, uses);
    }
    assert!(rows.len() > 10, "the module table was not found");
    rows
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let table = table();
    let mut wrong = Vec::new();
    // Tests may use the real parts of other modules instead of imitations.
    for (path, module, text) in files().into_iter().filter(|(path, ..)| !is_test(path)) {
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed = table
            .get(&module)
            .unwrap_or_else(|| panic!("`{module}` is not in docs/architecture.md"));
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for used in table
                .keys()
                .filter(|used| **used != module && !allowed.contains(*used))
            {
                if line.contains(&format!("crate::{used}::"))
                    || line.contains(&format!("crate::{used};"))
                {
                    wrong.push(format!(
                        "{}:{}: `{module}` uses `{used}`",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
        // `use crate::{a::x, b::y}` over several lines.
        for group in text.split("use crate::{").skip(1) {
            let body = group.split("};").next().unwrap_or_default();
            for used in table
                .keys()
                .filter(|used| **used != module && !allowed.contains(*used))
            {
                let named = body
                    .split([',', '{', '\n'])
                    .any(|item| item.trim().starts_with(&format!("{used}::")));
                if named {
                    wrong.push(format!("{}: `{module}` uses `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut wrong = Vec::new();
    for (path, _, text) in files() {
        match text.lines().count() {
            lines if lines > 1000 => wrong.push(format!("{}: {lines} lines", path.display())),
            lines if lines > 600 => {
                println!("{}: {lines} lines, think of splitting it", path.display());
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, _, text) in files().into_iter().filter(|(path, ..)| !is_test(path)) {
        assert!(
            text.starts_with("//!"),
            "{} does not begin with //!",
            path.display()
        );
    }
}

#[test]
fn pure_modules_take_time_and_randomness_as_arguments() {
    let mut wrong = Vec::new();
    for (path, module, text) in files().into_iter().filter(|(path, ..)| !is_test(path)) {
        if !["routing", "balance", "limit", "objects", "controller"].contains(&&*module) {
            continue;
        }
        for banned in [
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "rand::",
            "tokio::",
        ] {
            if text.contains(banned) {
                wrong.push(format!("{}: {banned}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sled_is_named_in_one_file() {
    for (path, _, text) in files().into_iter().filter(|(path, ..)| !is_test(path)) {
        // `store` has a module of that name with one type for the others.
        let names_it = text.replace("sled::Sled", "").contains("sled::");
        assert!(
            !names_it || path.ends_with("store/sled.rs"),
            "{} names sled",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_half_done() {
    let to_do = concat!("TO", "DO");
    let bare_ignore = concat!("#[ign", "ore]");
    let mut wrong = Vec::new();
    for (path, _, text) in files() {
        for mark in [to_do, bare_ignore, "unimplemented!", "todo!"] {
            if text.contains(mark) {
                wrong.push(format!("{}: {mark}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
