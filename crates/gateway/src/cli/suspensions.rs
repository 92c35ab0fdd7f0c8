//! `llmgateway suspend`

use store::{NewSuspension, Store, Suspension};

use super::projects::ACTOR;
use super::{ConfigArgument, say, with_store};
use crate::clock::now_ms;
use crate::report::time_text;
use crate::snapshot::{Snapshot, Tools};
use crate::suspensions::check;

/// Arguments of `suspend`.
#[derive(Clone, Debug, clap::Args)]
pub struct SuspendArguments {
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
pub fn run(arguments: &SuspendArguments) -> anyhow::Result<()> {
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
    let suspensions: Vec<Suspension> =
        store.suspensions().await?.into_iter().filter(|suspension| suspension.is_active(now)).collect();
    if suspensions.is_empty() {
        say("nothing is suspended");
    }
    for suspension in suspensions {
        let key = suspension.key.map(|key| format!("/{key}")).unwrap_or_default();
        let until =
            suspension.until_ms.map(|until| format!(" until {}", time_text(until))).unwrap_or_default();
        let reason =
            if suspension.reason.is_empty() { String::new() } else { format!(": {}", suspension.reason) };
        let since = time_text(suspension.since_ms);
        say(&format!(
            "{}{key} is suspended since {since}{until}, by {}{reason}",
            suspension.provider, suspension.actor
        ));
    }
    Ok(())
}

async fn begin(store: &Store, provider: &str, arguments: &SuspendArguments) -> anyhow::Result<()> {
    let asked = NewSuspension {
        provider: provider.to_owned(),
        key: arguments.key.clone(),
        reason: arguments.reason.clone(),
        seconds: arguments.hours.map(|hours| i64::from(hours) * 3600),
    };
    let (suspension, entry) = asked.begin(ACTOR, now_ms())?;
    store.suspend(&suspension, entry).await?;
    say(&format!("{provider} is suspended"));
    Ok(())
}

async fn end(store: &Store, provider: &str, key: Option<&str>) -> anyhow::Result<()> {
    let entry = Suspension::end(provider, key, ACTOR);
    if !store.end_suspension(provider, key, entry, now_ms()).await? {
        anyhow::bail!("No suspension of {provider:?} matches; `llmgateway suspend` lists the suspensions.");
    }
    say(&format!("{provider} is in use again"));
    Ok(())
}
