//! `llmgateway keys`

use store::Store;

use super::{ConfigArgument, runtime, say};
use crate::metering::now_ms;

/// Arguments of `keys`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeysArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a key. It is shown once.
    Create {
        /// A name to know it by.
        name: String,
    },
    /// List keys.
    List,
    /// Revoke a key. A running gateway notices within seconds.
    Revoke {
        /// Its id, from `keys list`.
        id: String,
    },
}

/// Works on the database of the configuration, also while a gateway runs on it.
pub fn run(arguments: &KeysArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    runtime()?.block_on(async {
        let store = Store::open(&settings.database_url).await?;
        match &arguments.command {
            KeysCommand::Create { name } => {
                let (row, secret) = store.create_key(name, now_ms()).await?;
                say(&format!("{}  ({}, shown once)", secret.expose(), row.id));
            }
            KeysCommand::List => list(&store).await?,
            KeysCommand::Revoke { id } => match store.revoke_key(id, now_ms()).await? {
                true => say(&format!("revoked {id}")),
                false => anyhow::bail!("There is no active key {id:?}; `llmgateway keys list` shows them."),
            },
        }
        store.close().await;
        anyhow::Ok(())
    })
}

async fn list(store: &Store) -> anyhow::Result<()> {
    for key in store.list_keys().await? {
        let state = if key.revoked_at_ms.is_some() { "revoked" } else { "active" };
        say(&format!("{}  {:<8} {:<16} {}", key.id, state, key.prefix, key.fields.name));
    }
    Ok(())
}
