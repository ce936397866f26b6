//! The setting of the text and the first words of docs.

use std::collections::BTreeMap;

use super::tree::{File, files, sources};

/// A doc comment that begins with one of these says what something is in a clause of its own. It
/// shall begin with a verb or with the noun that names the thing.
const NOT_FIRST: [&str; 9] = [
    "What", "Whether", "How", "Who", "Whose", "Where", "Of", "None", "Another",
];

/// Test names are statements that can be read at a glance, in bytes.
const LONGEST_NAME: usize = 60;

fn all() -> impl Iterator<Item = File> {
    ["src", "tests", "benches", "fuzz"]
        .into_iter()
        .flat_map(files)
}

#[test]
fn lines_have_at_most_100_columns() {
    let wrong: Vec<String> = all()
        .flat_map(|file| {
            let long = file.lines().filter(|(_, line)| line.chars().count() > 100);
            long.map(|(place, _)| place).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn docs_begin_with_a_verb_or_a_noun() {
    let mut wrong = Vec::new();
    for file in all() {
        let mut in_docs = false;
        for (place, line) in file.lines() {
            let text = line.trim_start();
            let docs = text
                .strip_prefix("/// ")
                .or_else(|| text.strip_prefix("//! "));
            if let Some(docs) = docs.filter(|_| !in_docs) {
                let first = docs
                    .split(|c: char| !c.is_alphabetic())
                    .next()
                    .unwrap_or_default();
                if NOT_FIRST.contains(&first) {
                    wrong.push(format!("{place}: {docs}"));
                }
            }
            in_docs = text.starts_with("///") || text.starts_with("//!");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} docs:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn long_functions_have_paragraphs() {
    // Lines, and blank lines, of functions with 20 lines or more.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (start, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_function(line))
        {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..]
                .iter()
                .position(|line| *line == format!("{indent}}}"));
            let Some(end) = end.filter(|length| *length >= 19) else {
                continue;
            };
            let body = &lines[start..=start + end];
            let count = counts.entry(file.room()).or_default();
            count.0 += body.len();
            count.1 += body.iter().filter(|line| line.trim().is_empty()).count();
        }
    }
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(_, (lines, blank))| blank * 100 < lines * 5)
        .map(|(room, (lines, blank))| format!("{room}: {blank} blank lines in {lines}"))
        .collect();
    assert!(wrong.is_empty(), "at least 5 in 100:\n{}", wrong.join("\n"));
}

fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take(5).collect();
    let at = words.iter().position(|word| *word == "fn");
    at.is_some_and(|at| {
        let qualifiers = &words[..at];
        let known =
            |word: &&str| word.starts_with("pub") || ["async", "const", "unsafe"].contains(word);
        qualifiers.iter().all(known) || line.trim_start().starts_with("pub(")
    })
}

#[test]
fn test_names_are_short() {
    let mut wrong = Vec::new();
    for file in all() {
        let mut is_test = false;
        for (place, line) in file.lines().map(|(place, line)| (place, line.trim_start())) {
            if line.starts_with("#[") {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                continue;
            }
            let name = line
                .split_once("fn ")
                .map(|(_, rest)| rest.split('(').next());
            if let Some(name) = name
                .flatten()
                .filter(|name| is_test && name.len() > LONGEST_NAME)
            {
                wrong.push(format!("{place}: {} bytes: {name}", name.len()));
            }
            is_test = false;
        }
    }
    assert!(
        wrong.is_empty(),
        "at most {LONGEST_NAME} bytes:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn errors_are_types_outside_of_the_command_line() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|file| file.room() != "cli") {
        for (place, line) in file.lines() {
            if line.contains("Result<") && line.contains(", String>") && has_text_error(line) {
                wrong.push(format!("{place}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns whether a line names `Result<_, String>`.
fn has_text_error(line: &str) -> bool {
    line.match_indices("Result<").any(|(at, start)| {
        let mut depth = 1;
        let mut comma = None;
        for (offset, c) in line[at + start.len()..].char_indices() {
            match c {
                '<' | '(' | '[' => depth += 1,
                '>' | ')' | ']' => depth -= 1,
                ',' if depth == 1 => comma = Some(at + start.len() + offset + 1),
                _ => {}
            }
            if depth == 0 {
                let end = at + start.len() + offset;
                return comma.is_some_and(|comma| line[comma..end].trim() == "String");
            }
        }
        false
    })
}
