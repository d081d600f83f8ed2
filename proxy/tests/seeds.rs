//! docs/seeds.md names every row of the seeds' capabilities once, and for each of them a test that exists, or says why
//! there is none.

use std::fs;
use std::path::Path;

const ROWS: usize = 103;

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_file(name: &str) -> bool {
    name.contains('/') && Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

/// Whether a file of tests has a function of this name, by itself or inside of a macro.
fn has_test(text: &str, name: &str) -> bool {
    text.match_indices(&format!("fn {name}")).any(|(at, found)| text[at + found.len()..].starts_with('('))
}

#[test]
fn every_row_is_there_once_and_its_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/seeds.md")).unwrap();
    let lines: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let rows: Vec<usize> = lines.iter().map(|cells| cells[0].parse().unwrap()).collect();
    assert_eq!(rows, (1..=ROWS).collect::<Vec<_>>(), "one line for each row, in order");
    for cells in &lines {
        let [row, _, place, shown] = cells.as_slice() else { panic!("row {} has four cells", cells[0]) };
        for file in quoted(place).filter(|name| is_file(name)) {
            assert!(root.join("proxy/src").join(file).is_file(), "row {row}: {file}");
        }
        if let Some(why) = shown.strip_prefix("none: ") {
            assert!(why.len() > 10, "row {row} says why");
            continue;
        }
        let mut text = None;
        for name in quoted(shown) {
            if is_file(name) {
                text =
                    Some(fs::read_to_string(root.join(name)).unwrap_or_else(|_| panic!("row {row}: {name}")));
            } else {
                let text = text.as_ref().unwrap_or_else(|| panic!("row {row}: {name} stands in no file"));
                assert!(has_test(text, name), "row {row}: there is no test {name}");
            }
        }
        assert!(text.is_some(), "row {row} is shown by something, or says why not");
    }
}
