//! `countersign schema`: the JSON Schema of the configuration file, or its reference.

use std::io::Write;

use crate::config::reference::{reference_text, schema_text};

/// Prints what config/schema.json (or config/reference.md) must hold.
pub(super) fn schema(reference: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = if reference { reference_text() } else { schema_text() };
    out.write_all(text.as_bytes())?;
    Ok(())
}
