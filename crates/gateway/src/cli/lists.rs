//! `llmgateway requests`, `audit` and `nodes`: what the admin API lists, one JSON object per line.

use serde_json::Value;
use store::{Cursor, RequestFilter, WriteOutcome};

use super::projects::ACTOR;
use super::{ConfigArgument, say, with_store};
use crate::clock::now_ms;
use crate::nodes::{forget, not_forgotten};
use crate::report::{self, InvalidParameter};

/// The default and the maximum number of lines.
const USUAL: u32 = 50;
const MOST: u32 = 500;

/// Arguments of `requests`.
#[derive(Clone, Debug, clap::Args)]
pub struct RequestsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only the request with this id
    id: Option<String>,
    /// Only requests that match: 'model:gpt-* status:5xx cost:>0.01 tag:team=a'. See docs/governance.md
    #[arg(long, default_value = "")]
    filter: String,
    /// From this time on: a date, a time such as 2026-11-27T10:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The page after this cursor, which is printed at the end of the previous page
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    #[command(flatten)]
    page: PageArguments,
}

/// Arguments of `audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only entries before the one with this id
    #[arg(long, value_name = "ID", default_value_t = i64::MAX, hide_default_value = true)]
    after: i64,
    #[command(flatten)]
    page: PageArguments,
}

#[derive(Clone, Debug, clap::Args)]
struct PageArguments {
    /// The maximum number of lines
    #[arg(long, value_name = "N", default_value_t = USUAL, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    limit: u32,
}

/// Lists requests, the newest first.
pub fn requests(arguments: &RequestsArguments) -> anyhow::Result<()> {
    let mut filter = RequestFilter::parse(&arguments.filter)?;
    let time = |name, text: &Option<String>| {
        let read = text.as_deref().map(|text| report::read_time(name, text)).transpose();
        read.map_err(|InvalidParameter(_, reason)| anyhow::anyhow!(reason))
    };
    filter.since_ms = time("since", &arguments.since)?;
    filter.until_ms = time("until", &arguments.until)?;
    let after: Option<Cursor> =
        arguments.after.as_deref().map(str::parse).transpose().map_err(|_| {
            anyhow::anyhow!("--after must be the cursor that is printed at the end of a page.")
        })?;
    with_store(&arguments.config.load()?.database_url, async |store| {
        let (rows, next) = match &arguments.id {
            Some(id) => (store.request(id).await?, None),
            None => {
                let page = store.requests(&filter, after, arguments.page.limit).await?;
                (page.rows, page.next)
            }
        };
        if let (Some(id), true) = (&arguments.id, rows.is_empty()) {
            anyhow::bail!("There is no request {id:?}.");
        }
        lines(rows.iter().map(report::request_object));
        if let Some(next) = next {
            super::say_error(&format!("there are more: --after {next}"));
        }
        Ok(())
    })
}

/// Lists changes and their authors, the newest first.
pub fn audit(arguments: &AuditArguments) -> anyhow::Result<()> {
    with_store(&arguments.config.load()?.database_url, async |store| {
        let rows = store.audit_before(arguments.after, arguments.page.limit).await?;
        lines(rows.iter().map(report::audit_object));
        Ok(())
    })
}

/// Arguments of `nodes`.
#[derive(Clone, Debug, clap::Args)]
pub struct NodesArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(subcommand)]
    command: Option<NodesCommand>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum NodesCommand {
    /// Declare a node lost that was not seen for 15 minutes: the others release what it holds of budgets
    Forget {
        /// Its id, from `llmgateway nodes`
        id: String,
    },
}

/// Lists the processes on the database, or declares one lost.
pub fn nodes(arguments: &NodesArguments) -> anyhow::Result<()> {
    with_store(&arguments.config.load()?.database_url, async |store| {
        match &arguments.command {
            None => {
                let now = now_ms();
                lines(store.nodes().await?.iter().map(|node| report::node_object(node, now)));
            }
            Some(NodesCommand::Forget { id }) => match forget(store, id, ACTOR).await? {
                WriteOutcome::Done => {
                    say(&format!("{id} is lost; the running nodes release what it holds within a minute"))
                }
                WriteOutcome::Changed | WriteOutcome::Exists => anyhow::bail!("{}.", not_forgotten(id)),
                WriteOutcome::Absent => {
                    anyhow::bail!("There is no node {id:?}; `llmgateway nodes` lists them.")
                }
            },
        }
        Ok(())
    })
}

fn lines(objects: impl Iterator<Item = Value>) {
    objects.for_each(|object| say(&object.to_string()));
}
