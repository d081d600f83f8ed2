//! `countersign schema`: the JSON Schema of the configuration file, its reference, or the description of our endpoints.

use std::io::Write;

use crate::config::reference::{reference_text, schema_text};
use crate::endpoints::own::openapi;

/// Prints what config/schema.json (or config/reference.md, or docs/openapi.json) must hold.
pub(super) fn schema(reference: bool, openapi: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = match (reference, openapi) {
        (_, true) => openapi::text(),
        (true, false) => reference_text(),
        (false, false) => schema_text(),
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}
