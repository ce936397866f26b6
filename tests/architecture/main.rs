//! Holds `src/` to the module table of `docs/architecture.md` and to the rules that a compiler does
//! not know.

mod imports;
mod text;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use tree::{files, root, sources};

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
    for file in sources() {
        let module = file.room();
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed = table
            .get(&module)
            .unwrap_or_else(|| panic!("`{module}` is not in docs/architecture.md"));
        let used: BTreeSet<String> = imports::paths(&file.module(), &file.text, true)
            .into_iter()
            .filter_map(|path| path.into_iter().next())
            .collect();
        for used in used
            .iter()
            .filter(|used| **used != module && table.contains_key(*used))
        {
            if !allowed.contains(used) {
                wrong.push(format!("{}: `{module}` uses `{used}`", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of a module form no circle: each can be understood with those below it alone.
#[test]
fn files_use_each_other_in_one_direction() {
    let sources = sources();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(tree::File::module).collect();

    // What each file uses of its own module. The file of the module itself only lists the others.
    let mut uses: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for file in sources
        .iter()
        .filter(|file| !CIRCLES.contains(&&*file.room()))
    {
        let module = file.module();
        // Tests within the file may use all of it.
        let text = file
            .text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let used = imports::paths(&module, text, false)
            .into_iter()
            .filter(|path| path.first() == module.first())
            .filter_map(|path| {
                let known = (2..=path.len()).rev().map(|length| &path[..length]);
                known
                    .into_iter()
                    .find(|part| modules.contains(*part))
                    .map(<[String]>::to_vec)
            })
            .filter(|used| *used != module);
        uses.entry(module.clone()).or_default().extend(used);
    }

    let reached: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = uses
        .keys()
        .map(|module| (module, reach(module, &uses)))
        .collect();
    let mut wrong = Vec::new();
    for (module, all) in &reached {
        for other in all.iter().filter(|other| module < *other) {
            if reached
                .get(*other)
                .is_some_and(|back| back.contains(*module))
            {
                wrong.push(format!("{} and {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these use each other:\n{}",
        wrong.join("\n")
    );
}

/// Modules whose files still form circles.
const CIRCLES: [&str; 1] = ["proxy"];

/// Returns all that is used from here, by way of others too.
fn reach<'a>(
    from: &'a Vec<String>,
    uses: &'a BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
) -> BTreeSet<&'a Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        next.extend(
            uses.get(module)
                .into_iter()
                .flatten()
                .filter(|used| seen.insert(*used)),
        );
    }
    seen
}

#[test]
fn files_stay_small() {
    let mut wrong = Vec::new();
    for file in files("src") {
        match file.text.lines().count() {
            lines if lines > 1000 => wrong.push(format!("{}: {lines} lines", file.path.display())),
            lines if lines > 600 => {
                println!(
                    "{}: {lines} lines, think of splitting it",
                    file.path.display()
                );
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in sources() {
        let path = file.path.display();
        assert!(
            file.text.starts_with("//!"),
            "{path} does not begin with //!"
        );
    }
}

#[test]
fn pure_modules_take_time_and_randomness_as_arguments() {
    let mut wrong = Vec::new();
    for file in sources() {
        if !["routing", "balance", "limit", "objects", "controller"].contains(&&*file.room()) {
            continue;
        }
        for banned in [
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "rand::",
            "tokio::",
        ] {
            if file.text.contains(banned) {
                wrong.push(format!("{}: {banned}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sled_is_named_in_one_file() {
    for file in sources() {
        // `store` has a module of that name with one type for the others.
        let names_it = file.text.replace("sled::Sled", "").contains("sled::");
        assert!(
            !names_it || file.path.ends_with("store/sled.rs"),
            "{} names sled",
            file.path.display()
        );
    }
}

#[test]
fn nothing_is_left_half_done() {
    let to_do = concat!("TO", "DO");
    let bare_ignore = concat!("#[ign", "ore]");
    let mut wrong = Vec::new();
    for file in files("src") {
        for mark in [to_do, bare_ignore, "unimplemented!", "todo!"] {
            if file.text.contains(mark) {
                wrong.push(format!("{}: {mark}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_the_documentation_exist() {
    let mut wrong = Vec::new();
    for page in [
        "docs/architecture.md",
        "docs/glossary.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        let text = fs::read_to_string(root().join(page)).expect("the page");
        let is_path = |c: char| c.is_alphanumeric() || "_-./".contains(c);
        for word in text
            .split(|c| !is_path(c))
            .filter(|word| word.ends_with(".rs"))
        {
            let known = [root().join(word), root().join("src").join(word)];
            // `x` stands for any module.
            if word.contains('/')
                && !word.split('/').any(|part| part == "x" || part == "x.rs")
                && !known.iter().any(|path| path.exists())
            {
                wrong.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
