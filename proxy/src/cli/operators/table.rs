//! Tables for a person at a terminal. What comes from stores is shown without the characters that steer a terminal
//! (THREATS O6).

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets};

/// A table without lines; without headings when there are none.
pub(in crate::cli) fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !headings.is_empty() {
        table.set_header(headings);
    }
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

/// The first line in bold, for a person at a terminal who did not refuse it (`NO_COLOR`).
pub(in crate::cli) fn headings_in_bold(text: &str) -> String {
    match text.split_once('\n') {
        Some((headings, rows)) if is_coloured() => format!("\u{1b}[1m{headings}\u{1b}[0m\n{rows}"),
        _ => text.to_owned(),
    }
}

/// Whether standard output is a terminal that wants colours.
pub(in crate::cli) fn is_coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !refused
}

/// Text without characters that steer a terminal or turn the direction of reading.
pub(in crate::cli) fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_line_steers_the_terminal() {
        let rows = [vec!["1".to_owned(), plain("Ana\u{1b}[2J\r\n")], vec!["22".to_owned(), plain("写真")]];
        let text = table(&["ID", "NAME"], rows.into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, ["ID  NAME", "1   Ana\\u{1b}[2J\\u{d}\\u{a}", "22  写真"]);
        assert_eq!(plain("a\u{202e}b"), "a\\u{202e}b");
    }
}
