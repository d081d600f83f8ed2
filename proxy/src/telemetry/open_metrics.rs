//! The text format of OpenMetrics 1.0, which has room for traces beside the buckets of a histogram. The library beneath
//! writes only the older format of Prometheus.

use std::fmt::{self, Write};

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};

/// The histogram whose buckets have exemplars.
const WITH_EXEMPLARS: &str = "countersign_request_duration_seconds";

/// Everything that was gathered.
pub(super) fn render(families: &[MetricFamily], exemplars: &Exemplars) -> Vec<u8> {
    let mut out = String::with_capacity(32 * 1024);
    for family in families {
        // A text takes everything that is written into it.
        let _ = write_family(&mut out, family, exemplars);
    }
    out.push_str("# EOF\n");
    out.into_bytes()
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: &Exemplars) -> fmt::Result {
    let (name, kind) = match family.get_field_type() {
        MetricType::COUNTER => (family.name().strip_suffix("_total").unwrap_or(family.name()), "counter"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        _ => (family.name(), "gauge"),
    };
    writeln!(out, "# TYPE {name} {kind}")?;
    if let Some(unit) = ["seconds", "bytes"].iter().find(|unit| name.ends_with(&format!("_{unit}"))) {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => {
                let value = metric.get_counter().value();
                writeln!(out, "{name}_total{} {}", Labels(metric, None), Number(value))?;
            }
            MetricType::HISTOGRAM => write_histogram(out, name, metric, exemplars)?,
            _ => writeln!(out, "{name}{} {}", Labels(metric, None), Number(metric.get_gauge().value()))?,
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) -> fmt::Result {
    let histogram = metric.get_histogram();
    let exemplar = |position: usize| {
        let [outcome, route] = ["outcome", "route"].map(|label| {
            let found = metric.get_label().iter().find(|pair| pair.name() == label);
            found.map_or("", |pair| pair.value())
        });
        if name == WITH_EXEMPLARS { exemplars.find(route, outcome, position) } else { None }
    };
    let bounds = histogram.get_bucket();
    for (position, bucket) in bounds.iter().enumerate() {
        let bound = bucket.upper_bound();
        write!(out, "{name}_bucket{} {}", Labels(metric, Some(bound)), bucket.cumulative_count())?;
        write_exemplar(out, exemplar(position))?;
    }
    write!(out, "{name}_bucket{} {}", Labels(metric, Some(f64::INFINITY)), histogram.get_sample_count())?;
    write_exemplar(out, exemplar(usize::MAX))?;
    writeln!(out, "{name}_count{} {}", Labels(metric, None), histogram.get_sample_count())?;
    writeln!(out, "{name}_sum{} {}", Labels(metric, None), Number(histogram.get_sample_sum()))
}

fn write_exemplar(out: &mut String, exemplar: Option<Exemplar>) -> fmt::Result {
    match exemplar {
        None => writeln!(out),
        Some(Exemplar { trace_id, seconds, at }) => {
            let millis = at.as_millis();
            writeln!(
                out,
                " # {{trace_id=\"{trace_id}\"}} {} {}.{:03}",
                Number(seconds),
                millis / 1000,
                millis % 1000
            )
        }
    }
}

/// The labels of one line, perhaps with the bound of a bucket.
struct Labels<'a>(&'a Metric, Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "{";
        for pair in self.0.get_label() {
            write!(f, "{between}{}=\"{}\"", pair.name(), Escaped(pair.value()))?;
            between = ",";
        }
        if let Some(bound) = self.1 {
            write!(f, "{between}le=\"{}\"", Number(bound))?;
            between = ",";
        }
        if between == "," { f.write_str("}") } else { Ok(()) }
    }
}

/// A number as both formats write it: bounds of buckets must be the same words in each, or series would double.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            self.0.fmt(f)
        }
    }
}

/// Text in which backslash, quote and line end are escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_bucket_shows_the_trace_of_a_request_that_fell_into_it() {
        let metrics = Metrics::new();
        metrics.request_seconds.with_label_values(&["a\"b", "failed"]).observe(0.3);
        let exemplar = Exemplar {
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            seconds: 0.3,
            at: Timestamp::from_millis(1_795_244_786_042),
        };
        metrics.exemplars.note("a\"b", "failed", exemplar);
        let text = String::from_utf8(metrics.render_open_metrics()).unwrap();
        let line = "countersign_request_duration_seconds_bucket{outcome=\"failed\",route=\"a\\\"b\",le=\"0.5\"} 1 \
                    # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.3 1795244786.042\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(text.matches("trace_id").count(), 1);
        assert!(text.contains("# UNIT countersign_request_duration_seconds seconds\n"), "{text}");
        assert!(
            text.contains("# TYPE countersign_panics counter\n")
                && text.contains("\ncountersign_panics_total 0\n")
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
