//! The cost by the values of a tag, a panel of the overview and of a project.

use std::cmp::Reverse;

use maud::{Markup, html};
use store::{Dim, OTHER_TAG, StoreError, UsageQuery, UsageRow, UsageSums};

use crate::Console;
use crate::components::number::{absent, count, sum};
use crate::components::parts::{segments, unreadable};
use crate::components::time::{self, DAY_MS};
use crate::components::{Panel, Table};
use crate::fields::Fields;

/// The maximum number of tags to choose from, and of values; the rest of the values are one row.
const TAGS: usize = 8;
const VALUES: usize = 10;

/// The requests whose tags are shown.
pub(super) struct TagScope<'a> {
    /// None: of all projects.
    pub(super) project: Option<&'a str>,
    pub(super) since_ms: i64,
    pub(super) now_ms: i64,
}

impl TagScope<'_> {
    /// Whole days, because sums by tag have no shorter period.
    fn range(&self) -> (i64, i64) {
        (self.since_ms.div_euclid(DAY_MS) * DAY_MS, (self.now_ms.div_euclid(DAY_MS) + 1) * DAY_MS)
    }
}

/// The panel; nothing where no request has a tag. `page` is the path and the query of the page, which chooses the tag.
pub(super) async fn panel(console: &Console, shown: &TagScope<'_>, page: (&str, &Fields)) -> Markup {
    match read(console, shown, page.1.get("tag")).await {
        Ok(None) => Markup::default(),
        Ok(Some((tags, tag, rows))) => drawn(shown, page, (&tags, &tag), rows),
        Err(error) => html! { section.panel { (unreadable("The sums by tag", &error)) } },
    }
}

type Read = (Vec<String>, String, Vec<UsageRow>);

/// The tags of the requests, the chosen one, and its sums.
async fn read(
    console: &Console,
    shown: &TagScope<'_>,
    asked: Option<&str>,
) -> Result<Option<Read>, StoreError> {
    let (since_ms, until_ms) = shown.range();
    let tags = console.store.usage_tags((since_ms, until_ms), shown.project).await?;
    let Some(tag) = asked.filter(|asked| tags.contains(*asked)).or(tags.first().map(String::as_str)) else {
        return Ok(None);
    };
    let query = UsageQuery {
        since_ms,
        until_ms,
        of: shown.project.iter().map(|project| (Dim::Project, (*project).to_owned())).collect(),
        tag: Some(tag.to_owned()),
        ..UsageQuery::default()
    };
    let rows = console.store.usage_sums(&query).await?;
    let tag = tag.to_owned();
    // The chosen tag is always among the shown ones.
    let mut names: Vec<String> = tags.into_iter().filter(|name| *name != tag).take(TAGS - 1).collect();
    names.push(tag.clone());
    names.sort_unstable();
    Ok(Some((names, tag, rows)))
}

/// The largest sums, and those of all other values together.
fn ranked(mut rows: Vec<UsageRow>) -> (Vec<UsageRow>, Option<UsageSums>) {
    let rank = |row: &UsageRow| Reverse((row.of[0] != OTHER_TAG, row.sums.cost().0, row.sums.requests()));
    rows.sort_by_cached_key(rank);
    let has_other = rows.last().is_some_and(|row| row.of[0] == OTHER_TAG);
    let shown = if has_other { (rows.len() - 1).min(VALUES) } else { rows.len().min(VALUES) };
    let rest = rows.split_off(shown);
    let others = rest.iter().fold(None, |others: Option<UsageSums>, row| {
        let mut others = others.unwrap_or_default();
        others.add(&row.sums);
        Some(others)
    });
    (rows, others)
}

fn drawn(
    shown: &TagScope<'_>,
    (path, query): (&str, &Fields),
    (tags, tag): (&[String], &str),
    rows: Vec<UsageRow>,
) -> Markup {
    let (rows, others) = ranked(rows);
    let whole: i64 =
        rows.iter().map(|row| row.sums.cost().0).sum::<i64>() + others.as_ref().map_or(0, |it| it.cost().0);
    let figures = |sums: &UsageSums| {
        html! {
            td.n { (count(sums.requests())) }
            td.n { (sum(sums.cost(), sums.unpriced())) }
            td.n.p1 { @if whole > 0 { (format!("{:.0} %", sums.cost().0 as f64 * 100.0 / whole as f64)) } @else { (absent()) } }
        }
    };
    let requests = |value: &str| {
        let project = shown.project.map(|project| format!(" project:\"{project}\"")).unwrap_or_default();
        let words = format!("tag:\"{tag}={}\"{project}", value.replace(['"', ','], "*"));
        let range = shown.project.map_or_else(|| query.get("range"), |_| Some("30d"));
        format!("/ui/requests?{}", Fields::of(vec![("q".to_owned(), words)]).with("range", range))
    };
    let caption = format!("Cost by {tag}");
    let table = Table {
        caption: &caption,
        class: "dense",
        columns: &[(tag, "max"), ("Requests", "n"), ("Cost", "n"), ("Share", "n p1")],
    };
    let table = table.around(html! {
        @for row in &rows {
            @let value = row.of[0].as_str();
            tr {
                td.max { a.main.clip href=(requests(value)) title=(value) { @if value.is_empty() { "(empty)" } @else { (value) } } }
                (figures(&row.sums))
            }
        }
        @if let Some(others) = &others { tr { td.max { span.t2 { "all others" } } (figures(others)) } }
    });
    let choice =
        |name: &String| (name.clone(), format!("{path}?{}", query.with("tag", Some(name))), name == tag);
    let choices: Vec<_> = tags.iter().map(choice).collect();
    let links = choices.iter().map(|(name, href, is_it)| (name.as_str(), href.clone(), *is_it));
    let note = html! { "since " (time::day_of(shown.range().0, shown.now_ms)) ", UTC; requests without the tag are not counted" };
    Panel {
        title: "Cost by tag",
        note: Some(note),
        acts: Some(segments("Tag", links)),
        raw: true,
        ..Panel::default()
    }
    .around(table)
}
