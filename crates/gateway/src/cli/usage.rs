//! `llmgateway usage`

use store::{Dim, UsageQuery, UsageRow};

use super::{ConfigArgument, say, with_store};
use crate::clock::now_ms;
use crate::report::{self, InvalidParameter, UsageWords};

/// Arguments of `usage`.
#[derive(Clone, Debug, clap::Args)]
pub struct UsageArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Number of days, including today. Default: 30
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=3660))]
    days: Option<i64>,
    /// From this time on: a date, a time such as 2026-11-27T10:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time. Default: now.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// One line per project, key, model, provider, operation, outcome, or value of a tag (`tag:NAME`); several separated by commas
    #[arg(long, visible_alias = "by", value_name = "NAMES")]
    group: Option<String>,
    /// One line per hour or day
    #[arg(long, value_name = "UNIT")]
    bucket: Option<String>,
    /// Only this project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only the key with this id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only this model, by its provider's name
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Only this provider.
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// As JSON, in the form of the admin API: one object per line
    #[arg(long)]
    json: bool,
}

/// Reads the database of the configuration, even while a gateway uses it. Records in a running gateway's
/// spool arrive within a second.
pub fn run(arguments: &UsageArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    let asked = [
        (Dim::Project, &arguments.project),
        (Dim::Key, &arguments.key),
        (Dim::Model, &arguments.model),
        (Dim::Provider, &arguments.provider),
    ];
    let words = UsageWords {
        since: arguments.since.clone(),
        until: arguments.until.clone(),
        days: arguments.days,
        group: arguments.group.clone(),
        bucket: arguments.bucket.clone(),
        of: asked.into_iter().filter_map(|(dim, value)| Some((dim, value.clone()?))).collect(),
    };
    let query = words.read(now_ms()).map_err(|InvalidParameter(_, reason)| anyhow::anyhow!(reason))?;
    let (rows, complete_from) = with_store(&settings.database_url, async |store| {
        let rows = store.usage_sums(&query).await?;
        Ok((rows, store.usage_indexed_from().await?))
    })?;
    if arguments.json {
        rows.iter().for_each(|row| say(&report::usage_object(&query, row).to_string()));
    } else {
        say(table(&query, &rows).trim_end());
    }
    if let Some(ms) = complete_from {
        super::say_error(&format!(
            "records before {} are still being added; a running gateway does it",
            report::time_text(ms)
        ));
    }
    Ok(())
}

fn table(query: &UsageQuery, rows: &[UsageRow]) -> String {
    let mut lines = vec![head(query)];
    for row in rows {
        let sums = &row.sums;
        let usage = sums.usage();
        let start = row.start_ms.map(|ms| report::time_text(ms)[..16].to_owned());
        // A request that reached no provider has none.
        let of = row.of.iter().map(|value| if value.is_empty() { "-".to_owned() } else { value.clone() });
        let numbers = [
            sums.requests().to_string(),
            usage.prompt_tokens().to_string(),
            usage.completion_tokens().to_string(),
            sums.cost().to_string(),
            sums.unpriced().to_string(),
        ];
        lines.push(start.into_iter().chain(of).chain(numbers).collect());
    }
    let width = |column: usize| lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let names = lines[0].len() - NUMBERS.len();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < names { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

const NUMBERS: [&str; 5] = ["requests", "tokens in", "tokens out", "cost USD", "unpriced"];

fn head(query: &UsageQuery) -> Vec<String> {
    let start = query.bucket.map(|_| "from");
    let start = start.into_iter().map(str::to_owned);
    let group = query.group.iter().map(|dim| dim.as_str().to_owned());
    let tag = query.tag.iter().map(|tag| format!("tag:{tag}"));
    start.chain(group).chain(tag).chain(NUMBERS.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Bucket, UsageSums};

    #[test]
    fn columns_are_aligned() {
        let query =
            UsageQuery { group: vec![Dim::Provider], bucket: Some(Bucket::Day), ..UsageQuery::default() };
        let row = |of: &str| UsageRow {
            start_ms: Some(86_400_000),
            of: vec![of.to_owned()],
            sums: UsageSums::default(),
        };
        let expected = "from              provider  requests  tokens in  tokens out  cost USD  unpriced\n\
                        1970-01-02T00:00  -                0          0           0         0         0\n\
                        1970-01-02T00:00  openai           0          0           0         0         0";
        assert_eq!(table(&query, &[row(""), row("openai")]), expected);
        let query = UsageQuery { tag: Some("team".to_owned()), ..UsageQuery::default() };
        assert_eq!(head(&query)[..2], ["tag:team", "requests"]);
    }
}
