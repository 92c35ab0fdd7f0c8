//! `llmgateway keys`

use store::{Audit, KeyFields, KeyRow, Store, WriteOutcome};

use super::projects::{self, check_name, checked_policy};
use super::{ConfigArgument, say, with_store};
use crate::clock;
use crate::clock::now_ms;
use crate::config::Settings;
use crate::identity::Roles;

const HOUR_MS: i64 = 3_600_000;

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
    /// Create a key. It is shown once
    Create(CreateArguments),
    /// List keys.
    List {
        /// Only keys of this project
        #[arg(long)]
        project: Option<String>,
    },
    /// Create a new secret for a key. It is shown once; the old one stays valid for a while
    Rotate {
        /// Its id, from `keys list`.
        id: String,
        /// How long the old secret stays valid
        #[arg(long, default_value_t = 24)]
        overlap_hours: u32,
    },
    /// Change a key. Fields that are not given stay unchanged
    Update(UpdateArguments),
    /// Disable a key until it is enabled again
    Disable {
        /// Its id, from `keys list`.
        id: String,
    },
    /// Enable a disabled key
    Enable {
        /// Its id, from `keys list`.
        id: String,
    },
    /// Revoke a key permanently. A running gateway refuses it within a second
    Revoke {
        /// Its id, from `keys list`.
        id: String,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct CreateArguments {
    /// Its name
    name: String,
    /// Its project
    #[arg(long, default_value = store::DEFAULT_PROJECT)]
    project: String,
    /// Its policy within the project, as JSON: {"models":["gpt-4.1*"],"budgets":[{"usd":"5","per":"day"}]}
    #[arg(long, default_value = "{}")]
    policy: String,
    /// Its roles: inference, passthrough, viewer, admin; several separated by commas
    #[arg(long, default_value = "inference")]
    roles: String,
    /// The first day (UTC) on which it is no longer valid, such as 2027-01-31
    #[arg(long)]
    expires: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
struct UpdateArguments {
    /// Its id, from `keys list`.
    id: String,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Its policy within the project, as JSON: replaces the previous one
    #[arg(long)]
    policy: Option<String>,
    /// Its roles: inference, passthrough, viewer, admin; several separated by commas
    #[arg(long)]
    roles: Option<String>,
    /// The first day (UTC) on which it is no longer valid, such as 2027-01-31; `never`: it does not expire
    #[arg(long)]
    expires: Option<String>,
}

/// Works on the database of the configuration, even while a gateway uses it.
pub fn run(arguments: &KeysArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    with_store(&settings.database_url, async |store| {
        match &arguments.command {
            KeysCommand::Create(new) => create(store, &settings, new).await?,
            KeysCommand::List { project } => list(store, project.as_deref()).await?,
            KeysCommand::Rotate { id, overlap_hours } => {
                let until = now_ms() + i64::from(*overlap_hours) * HOUR_MS;
                let audit = audit("key.rotate", id);
                match store.rotate_key(id, until, Some(&audit), now_ms()).await? {
                    Some(secret) => say(&format!("{}  ({id}, shown once)", secret.expose())),
                    None => return Err(no_key(id)),
                }
            }
            KeysCommand::Update(changes) => update(store, &settings, changes).await?,
            KeysCommand::Disable { id } => switch(store, id, true).await?,
            KeysCommand::Enable { id } => switch(store, id, false).await?,
            KeysCommand::Revoke { id } => {
                if store.revoke_key_with(id, Some(&audit("key.revoke", id)), now_ms()).await? {
                    say(&format!("revoked {id}"))
                } else {
                    return Err(no_key(id));
                }
            }
        }
        Ok(())
    })
}

fn no_key(id: &str) -> anyhow::Error {
    anyhow::anyhow!("There is no active key {id:?}; `llmgateway keys list` shows them.")
}

fn audit(action: &'static str, id: &str) -> Audit {
    projects::audit(action, format!("key:{id}"))
}

async fn create(store: &Store, settings: &Settings, new: &CreateArguments) -> anyhow::Result<()> {
    let declared = settings.projects.iter().any(|project| project.id == new.project);
    if !declared && store.project(&new.project).await?.is_none() {
        anyhow::bail!("There is no project {:?}; `llmgateway projects list` shows them.", new.project);
    }
    check_roles(&new.roles)?;
    check_name(&new.name)?;
    let expires_at_ms = new.expires.as_deref().map(day_ms).transpose()?;
    if expires_at_ms.is_some_and(|at| at <= now_ms()) {
        anyhow::bail!("--expires is in the past.");
    }
    let fields = KeyFields {
        name: new.name.clone(),
        project_id: new.project.clone(),
        roles: new.roles.clone(),
        policy: checked_policy(&new.policy, settings)?,
        expires_at_ms,
        disabled_at_ms: None,
    };
    let (row, secret) = store.create_key_with(&fields, Some(&audit("key.create", "")), now_ms()).await?;
    say(&format!("{}  ({}, shown once)", secret.expose(), row.id));
    Ok(())
}

fn check_roles(words: &str) -> anyhow::Result<()> {
    match Roles::unknown(words) {
        None => Ok(()),
        Some(wrong) => {
            anyhow::bail!(
                "There is no role {wrong:?}; the roles are inference, passthrough, viewer and admin."
            )
        }
    }
}

/// The begin of a day, in milliseconds since 1970.
fn day_ms(day: &str) -> anyhow::Result<i64> {
    match clock::seconds_of(day) {
        Some(seconds) if seconds > 0 => Ok(seconds * 1000),
        _ => anyhow::bail!("{day:?} is not a valid date; write it as 2027-01-31."),
    }
}

async fn active(store: &Store, id: &str) -> anyhow::Result<KeyRow> {
    let row = store.key(id).await?.filter(|row| row.revoked_at_ms.is_none());
    row.ok_or_else(|| no_key(id))
}

async fn update(store: &Store, settings: &Settings, changes: &UpdateArguments) -> anyhow::Result<()> {
    let UpdateArguments { id, name, policy, roles, expires } = changes;
    let mut row = active(store, id).await?;
    let fields = &mut row.fields;
    if let Some(name) = name {
        check_name(name)?;
        fields.name = name.clone();
    }
    if let Some(policy) = policy {
        fields.policy = checked_policy(policy, settings)?;
    }
    if let Some(roles) = roles {
        check_roles(roles)?;
        fields.roles = roles.clone();
    }
    if let Some(day) = expires {
        fields.expires_at_ms = (day != "never").then(|| day_ms(day)).transpose()?;
    }
    write(store, &row, ("key.update", "changed")).await
}

async fn write(store: &Store, row: &KeyRow, (action, done): (&'static str, &str)) -> anyhow::Result<()> {
    let id = &row.id;
    match store.update_key(row, Some(&audit(action, id)), now_ms()).await? {
        WriteOutcome::Done => say(&format!("{done} {id}")),
        _ => anyhow::bail!("The key {id} was changed at the same time; try again."),
    }
    Ok(())
}

async fn switch(store: &Store, id: &str, is_off: bool) -> anyhow::Result<()> {
    let mut row = active(store, id).await?;
    row.fields.disabled_at_ms = is_off.then(now_ms);
    write(store, &row, if is_off { ("key.disable", "disabled") } else { ("key.enable", "enabled") }).await
}

fn state(key: &KeyRow) -> &'static str {
    match key {
        KeyRow { revoked_at_ms: Some(_), .. } => "revoked",
        key if key.fields.disabled_at_ms.is_some() => "disabled",
        key if key.fields.expires_at_ms.is_some_and(|expires| expires <= now_ms()) => "expired",
        _ => "active",
    }
}

async fn list(store: &Store, project: Option<&str>) -> anyhow::Result<()> {
    for key in store.list_keys().await? {
        let KeyFields { name, project_id, .. } = &key.fields;
        if project.is_none_or(|project| project == project_id) {
            say(&format!("{}  {:<8} {:<10} {project_id:<16} {name}", key.id, state(&key), key.prefix));
        }
    }
    Ok(())
}
