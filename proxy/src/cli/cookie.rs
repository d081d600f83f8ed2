//! Cookies on the command line: given, from a file, or from standard input. They are never shown.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};

/// More than any browser sends.
const LONGEST: u64 = 64 * 1024;

/// The cookie that the flags name; `None` when they name none.
pub(super) fn read(given: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let text = match (given, file) {
        (Some("-"), _) => bounded(&mut std::io::stdin()).context("reading the cookie from standard input")?,
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => {
            let opened = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
            bounded(&mut { opened }).with_context(|| format!("reading {}", file.display()))?
        }
        (None, None) => return Ok(None),
    };
    let text = text.trim();
    Ok(Some(text.strip_prefix("Cookie:").unwrap_or(text).trim().to_owned()))
}

fn bounded(input: &mut dyn Read) -> anyhow::Result<String> {
    let mut text = String::new();
    input.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        bail!("a cookie has at most {LONGEST} bytes");
    }
    Ok(text)
}
