//! The histogram above the log: requests of the range by hour or day, from the roll-ups.

use maud::{Markup, html};
use serde_json::json;
use store::{Compare, Dim, Field, RequestFilter, StoreError, UsageQuery};

use super::overview::{Outcomes, Span, label};
use crate::Console;
use crate::components::chart::{self, short};
use crate::components::number::count;

/// Draws it; nothing for a range within a few hours, which the roll-ups do not divide. The roll-ups know only
/// some of the fields of a filter: with others all requests are counted, and the drawing says so.
pub async fn histogram(
    console: &Console,
    filter: &RequestFilter,
    since_ms: i64,
) -> Result<Markup, StoreError> {
    let now_ms = console.now_ms();
    let span = Span::of(since_ms, now_ms);
    let buckets = span.buckets();
    if buckets.len() < 4 {
        return Ok(html! {});
    }
    let of = dims_of(filter);
    let query = UsageQuery {
        since_ms: span.since_ms,
        until_ms: span.end_ms(),
        of: of.clone().unwrap_or_default(),
        group: vec![Dim::Outcome],
        bucket: Some(span.bucket),
        tag: None,
    };
    let rows = console.store.usage_sums(&query).await?;
    let outcomes: Vec<Outcomes> = buckets
        .iter()
        .map(|bucket| Outcomes::of(rows.iter().filter(|row| row.start_ms == Some(*bucket))))
        .collect();
    let labels: Vec<String> = buckets.iter().map(|bucket| label(*bucket, &span, now_ms)).collect();
    let all = Outcomes::of(rows.iter());
    let what = if of.is_some() { "requests" } else { "requests, filter not applied" };
    let words = format!("{} {what}, {} recovered, {} failed", all.all, all.recovered, all.failed);
    Ok(html! {
        div.body.histb {
            (figure(&outcomes, &labels, &words))
            p.t3.sm {
                (count(all.all)) " " (what) ", " (count(all.recovered)) " recovered, " (count(all.failed)) " failed, "
                (count(all.callers)) " by an error of the caller"
            }
        }
    })
}

/// The filter as values of roll-ups; none when they cannot express it.
fn dims_of(filter: &RequestFilter) -> Option<Vec<(Dim, String)>> {
    let dim = |field: &Field| match field {
        Field::Project => Some(Dim::Project),
        Field::Key => Some(Dim::Key),
        Field::Provider => Some(Dim::Provider),
        Field::Operation => Some(Dim::Operation),
        Field::Outcome => Some(Dim::Outcome),
        _ => None,
    };
    let one = |test: &store::Test| match &test.compare {
        Compare::Like(values) if !test.not => match values.as_slice() {
            [value] if !value.contains('*') => Some((dim(&test.field)?, value.clone())),
            _ => None,
        },
        _ => None,
    };
    filter.tests.iter().map(one).collect()
}

fn figure(outcomes: &[Outcomes], labels: &[String], words: &str) -> Markup {
    let highest = outcomes.iter().map(|it| it.all).max().unwrap_or(0).max(1) as f64;
    let width = 1000.0 / outcomes.len() as f64;
    let height = |requests: u64| requests as f64 / highest * 100.0;
    let bar = |class: &str, at: usize, (from, requests): (f64, u64)| {
        html! { rect class={ "f " (class) } x=(short(at as f64 * width + 1.0)) width=(short((width - 2.0).max(1.0))) y=(short(100.0 - from - height(requests))) height=(short(height(requests))) {} }
    };
    let numbers = json!({
        "x": labels, "u": "", "bars": 1,
        "s": [
            {"n": "failed", "k": "kbad", "y": outcomes.iter().map(|it| it.failed).collect::<Vec<_>>()},
            {"n": "recovered", "k": "k2", "y": outcomes.iter().map(|it| it.recovered).collect::<Vec<_>>()},
            {"n": "all requests", "k": "kmute", "y": outcomes.iter().map(|it| it.all).collect::<Vec<_>>()},
        ],
    });
    html! {
        figure.chart.hist data-chart tabindex="0" aria-label={ (words) ". Arrow keys move through the bars." } {
            svg.xa.h-64 width="100%" height="64" role="img" aria-label=(words) {
                svg width="100%" height="48" viewBox="0 0 1000 100" preserveAspectRatio="none" {
                    @for (at, it) in outcomes.iter().enumerate() {
                        @let others = it.all.saturating_sub(it.failed + it.recovered);
                        (bar("kbad", at, (0.0, it.failed)))
                        (bar("k2", at, (height(it.failed), it.recovered)))
                        (bar("kmute", at, (height(it.failed + it.recovered), others)))
                    }
                }
                @for (at, text) in labels.iter().enumerate().step_by(labels.len().div_ceil(5)) {
                    text x={ (short(at as f64 / labels.len() as f64 * 100.0)) "%" } y="62" { (text) }
                }
                line.cross y1="0" y2="48" visibility="hidden" {}
            }
            (chart::numbers(&numbers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roll_ups_know_some_filters() {
        let of = |text| dims_of(&RequestFilter::parse(text).unwrap());
        assert_eq!(of(""), Some(vec![]));
        let both = vec![(Dim::Project, "atlas".to_owned()), (Dim::Key, "k".to_owned())];
        assert_eq!(of("project:atlas key:k"), Some(both));
        for other in ["!project:atlas", "project:a*", "project:a,b", "project:a status:500", "words"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
