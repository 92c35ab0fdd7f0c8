//! The table of metrics in `docs/metrics.md`, written from the registry. `UPDATE_DOCS=1 cargo test -p gateway metrics_page`
//! rewrites it.

use std::collections::BTreeSet;
use std::fmt::Write;

use store::{Spool, SpoolLimits};

use super::Metrics;
use crate::env::Environment;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
const BEGIN: &str =
    "<!-- Written by `UPDATE_DOCS=1 cargo test -p gateway metrics_page`; a test compares it. -->\n";
const END: &str = "<!-- The end of what is written. -->\n";

/// All metrics, each with a sample: labels are only visible on samples.
fn sampled() -> String {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _reader) = Spool::open(folder.path(), SpoolLimits { max_bytes: 1 << 20 }).unwrap();
    let metrics = Metrics::of(spool);
    let model = metrics.provider("p").model("m");
    model.error("timeout");
    model.loss("dropped");
    metrics.refused("timeout");
    metrics.stored_response("stored");
    metrics.kept_bodies("stored", 1);
    metrics.guardrail("g", "input", "denied", 1);
    metrics.shared_counters("asked");
    metrics.response_cache("hit");
    metrics.set_suspensions(&[store::Suspension {
        provider: "p".into(),
        key: None,
        reason: String::new(),
        actor: "a".into(),
        since_ms: 0,
        until_ms: None,
    }]);
    metrics.prometheus_text()
}

/// The names of a metric's labels, except those of its type.
fn labels<'a>(text: &'a str, name: &str) -> BTreeSet<&'a str> {
    let samples = text.lines().filter_map(|line| {
        let (sample, labels) = line.split_once('{')?;
        let suffix = sample.strip_prefix(name)?;
        ["", "_bucket", "_sum", "_count"].contains(&suffix).then(|| labels.split_once('}'))?
    });
    let pairs = samples.flat_map(|(labels, _)| labels.split("\","));
    pairs.filter_map(|pair| Some(pair.split_once('=')?.0)).filter(|label| *label != "le").collect()
}

fn table() -> String {
    let text = sampled();
    let mut page = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // OpenMetrics' registry adds a full stop; a collector does not.
            help = rest.split_once(' ').unwrap().1.trim_end_matches('.');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let labels: Vec<String> = labels(&text, name).iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        }
    }
    page
}

#[test]
fn metrics_page_lists_every_metric() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (_, after) = rest.split_once(END).expect("the page has a place for the table");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if Environment::of_process().get("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &wanted).unwrap();
    } else {
        assert_eq!(
            page, wanted,
            "docs/metrics.md is out of date; UPDATE_DOCS=1 cargo test -p gateway metrics_page rewrites it"
        );
    }
}
