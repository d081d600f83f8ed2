//! Records as `ExportTraceServiceRequest` of OTLP 1 (opentelemetry-proto, `trace/v1/trace.proto`): one span for the
//! request, one below it for each step.

use protobuf::{CodedOutputStream, Result};

use super::{Fact, Recorded, Settings, numbered};
use crate::telemetry::Step;

/// Kinds of spans.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// The status of a span that failed.
const ERROR: i32 = 2;

/// How many spans a record becomes.
pub(super) fn spans(record: &Recorded) -> u64 {
    1 + record.steps.taken().count() as u64
}

/// The body of one request to the collector.
///
/// # Errors
/// Never in practice: a vector takes every byte.
pub(super) fn encode(records: &[Recorded], settings: &Settings) -> Result<Vec<u8>> {
    let resource = message(|out| {
        out.write_bytes(1, &text("service.name", &settings.service)?)?;
        out.write_bytes(1, &text("service.version", env!("CARGO_PKG_VERSION"))?)
    })?;
    let scope = message(|out| {
        out.write_string(1, env!("CARGO_PKG_NAME"))?;
        out.write_string(2, env!("CARGO_PKG_VERSION"))
    })?;
    let scoped = message(|out| {
        out.write_bytes(1, &scope)?;
        records.iter().try_for_each(|record| write_spans(out, record))
    })?;
    let all = message(|out| {
        out.write_bytes(1, &resource)?;
        out.write_bytes(2, &scoped)
    })?;
    message(|out| out.write_bytes(1, &all))
}

fn write_spans(out: &mut CodedOutputStream<'_>, record: &Recorded) -> Result<()> {
    let Some(first) = record.trace.recorded else { return Ok(()) };
    let begin = record.at.as_millis() * 1_000_000;
    let whole = Span {
        id: first.to_be_bytes(),
        parent: record.trace.parent,
        name: "request",
        kind: SERVER,
        begin,
        end: begin + u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX / 2),
    };
    out.write_bytes(2, &span(record, &whole, true)?)?;
    for (step, from, to) in record.steps.taken() {
        let step_span = Span {
            id: numbered(first, step),
            parent: Some(first.to_be_bytes()),
            name: step.span(),
            kind: if step == Step::Upstream { CLIENT } else { INTERNAL },
            begin: begin + u64::from(from) * 1000,
            end: begin + u64::from(to) * 1000,
        };
        out.write_bytes(2, &span(record, &step_span, false)?)?;
    }
    Ok(())
}

/// One span, in nanoseconds since the epoch.
struct Span {
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: &'static str,
    kind: i32,
    begin: u64,
    end: u64,
}

fn span(record: &Recorded, span: &Span, is_whole: bool) -> Result<Vec<u8>> {
    message(|out| {
        out.write_bytes(1, &record.trace.id)?;
        out.write_bytes(2, &span.id)?;
        if let Some(parent) = span.parent {
            out.write_bytes(4, &parent)?;
        }
        out.write_string(5, span.name)?;
        out.write_enum(6, span.kind)?;
        out.write_fixed64(7, span.begin)?;
        out.write_fixed64(8, span.end)?;
        if is_whole {
            for (name, fact) in &record.facts {
                let pair = match fact {
                    Fact::Text(value) => text(name, value)?,
                    Fact::Number(value) => pair(name, &message(|out| out.write_int64(3, *value))?)?,
                };
                out.write_bytes(9, &pair)?;
            }
            if record.failed {
                out.write_bytes(15, &message(|out| out.write_enum(3, ERROR))?)?;
            }
        }
        Ok(())
    })
}

fn text(name: &str, value: &str) -> Result<Vec<u8>> {
    pair(name, &message(|out| out.write_string(1, value))?)
}

fn pair(name: &str, value: &[u8]) -> Result<Vec<u8>> {
    message(|out| {
        out.write_string(1, name)?;
        out.write_bytes(2, value)
    })
}

fn message(write: impl FnOnce(&mut CodedOutputStream<'_>) -> Result<()>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut out = CodedOutputStream::vec(&mut bytes);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(bytes)
}
