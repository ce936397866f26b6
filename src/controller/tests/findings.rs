//! The page for users and the reasons of findings agree.

use super::*;

#[test]
fn the_page_lists_every_reason_in_order() {
    let page = include_str!("../../../docs/findings.md");
    let (table, _of_check) = page.split_once("[check.md]").expect("both tables");
    let (_, table) = table.split_once("|---|---|---|").expect("a table");
    let listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();

    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(listed, reasons);
    assert!(reasons.is_sorted());
}
