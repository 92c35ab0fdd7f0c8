//! `llmgateway rest`

use store::{NewRest, Store, Suspension};

use super::projects::ACTOR;
use super::{ConfigArgument, say, with_store};
use crate::clock::now_ms;
use crate::report::time_text;
use crate::rests::check;
use crate::snapshot::{Snapshot, Tools};

/// Arguments of `rest`.
#[derive(Clone, Debug, clap::Args)]
pub struct RestArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The provider to suspend. Without it, the suspensions are listed
    provider: Option<String>,
    /// Suspend only this key of the provider, by its label
    #[arg(long, requires = "provider")]
    key: Option<String>,
    /// The reason, shown to other administrators
    #[arg(long, default_value = "")]
    reason: String,
    /// For this many hours. Default: until the suspension is ended
    #[arg(long)]
    hours: Option<u32>,
    /// End the suspension
    #[arg(long, requires = "provider", conflicts_with_all = ["reason", "hours"])]
    end: bool,
}

/// Works on the database of the configuration, even while gateways use it: they follow within seconds.
pub fn run(arguments: &RestArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    let database_url = settings.database_url.clone();
    with_store(&database_url, async |store| {
        match &arguments.provider {
            None => list(store).await?,
            Some(provider) if arguments.end => end(store, provider, arguments.key.as_deref()).await?,
            Some(provider) => {
                let snapshot = Snapshot::first(settings, &Tools::for_commands()?);
                check(&snapshot, provider, arguments.key.as_deref())
                    .map_err(|(_, wrong)| anyhow::anyhow!("{wrong}."))?;
                begin(store, provider, arguments).await?;
            }
        }
        Ok(())
    })
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let now = now_ms();
    let rests: Vec<Suspension> =
        store.rests().await?.into_iter().filter(|rest| rest.is_active(now)).collect();
    if rests.is_empty() {
        say("nothing is suspended");
    }
    for rest in rests {
        let key = rest.key.map(|key| format!("/{key}")).unwrap_or_default();
        let until = rest.until_ms.map(|until| format!(" until {}", time_text(until))).unwrap_or_default();
        let reason = if rest.reason.is_empty() { String::new() } else { format!(": {}", rest.reason) };
        let since = time_text(rest.since_ms);
        say(&format!("{}{key} is suspended since {since}{until}, by {}{reason}", rest.provider, rest.actor));
    }
    Ok(())
}

async fn begin(store: &Store, provider: &str, arguments: &RestArguments) -> anyhow::Result<()> {
    let asked = NewRest {
        provider: provider.to_owned(),
        key: arguments.key.clone(),
        reason: arguments.reason.clone(),
        seconds: arguments.hours.map(|hours| i64::from(hours) * 3600),
    };
    let (rest, entry) = asked.begin(ACTOR, now_ms())?;
    store.rest(&rest, entry).await?;
    say(&format!("{provider} is suspended"));
    Ok(())
}

async fn end(store: &Store, provider: &str, key: Option<&str>) -> anyhow::Result<()> {
    let entry = Suspension::end(provider, key, ACTOR);
    if !store.end_rest(provider, key, entry, now_ms()).await? {
        anyhow::bail!("No suspension of {provider:?} matches; `llmgateway rest` lists the suspensions.");
    }
    say(&format!("{provider} is in use again"));
    Ok(())
}
