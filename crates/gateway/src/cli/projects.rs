//! `llmgateway projects`

use store::{Audit, Project, Store, WriteOutcome};

use super::{ConfigArgument, say, with_store};
use crate::clock::now_ms;
use crate::config::Settings;
use crate::config::settings::{read_policy, wrong_project_id};

/// Arguments of `projects`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProjectsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(subcommand)]
    command: ProjectsCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ProjectsCommand {
    /// Create a project
    Create {
        /// Its id: lowercase letters, digits, hyphens, underscores and dots
        id: String,
        /// Its display name. Default: its id
        #[arg(long)]
        name: Option<String>,
        /// Its policy, as JSON: {"models":["gpt-4.1*"],"budgets":[{"usd":"250","per":"month"}]}
        #[arg(long, default_value = "{}")]
        policy: String,
    },
    /// List projects, including those of the configuration
    List,
    /// Change a project.
    Update {
        /// Its id.
        id: String,
        /// Its display name
        #[arg(long)]
        name: Option<String>,
        /// Its policy, as JSON: replaces the previous one
        #[arg(long)]
        policy: Option<String>,
    },
    /// Refuse all keys of a project until it is enabled again
    Disable {
        /// Its id.
        id: String,
    },
    /// Enable a disabled project
    Enable {
        /// Its id.
        id: String,
    },
    /// Remove the cached answers of a project, on all nodes
    PurgeCache {
        /// Its id.
        id: String,
    },
    /// Delete a project without active keys. Its records and its ledger are kept
    Delete {
        /// Its id.
        id: String,
    },
}

/// Works on the database of the configuration, even while a gateway uses it.
pub fn run(arguments: &ProjectsArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    with_store(&settings.database_url, async |store| {
        match &arguments.command {
            ProjectsCommand::Create { id, name, policy } => {
                let name = name.as_deref().unwrap_or(id);
                create(store, &settings, (id, name, policy)).await?;
            }
            ProjectsCommand::List => list(store, &settings).await?,
            ProjectsCommand::Update { id, name, policy } => {
                let policy = policy.as_deref().map(|policy| checked_policy(policy, &settings)).transpose()?;
                name.as_deref().map(check_name).transpose()?;
                change(store, &settings, (id, "project.update"), |project| {
                    project.name = name.clone().unwrap_or_else(|| project.name.clone());
                    project.policy = policy.unwrap_or_else(|| project.policy.clone());
                })
                .await?;
            }
            ProjectsCommand::Disable { id } => {
                let off = |project: &mut Project| project.disabled_at_ms = Some(now_ms());
                change(store, &settings, (id, "project.disable"), off).await?;
            }
            ProjectsCommand::Enable { id } => {
                let on = |project: &mut Project| project.disabled_at_ms = None;
                change(store, &settings, (id, "project.enable"), on).await?;
            }
            ProjectsCommand::PurgeCache { id } => purge_cache(store, &settings, id).await?,
            ProjectsCommand::Delete { id } => delete(store, &settings, id).await?,
        }
        Ok(())
    })
}

/// Who changes things by the command line, in the audit log.
pub(super) const ACTOR: &str = "cli";

/// An entry of the audit log for a command.
pub(super) fn audit(action: &'static str, target: String) -> Audit {
    Audit { actor: ACTOR.to_owned(), action, target, detail: "{}".to_owned() }
}

/// A policy from JSON, in its stored form; the error lists all its mistakes.
pub(super) fn checked_policy(json: &str, settings: &Settings) -> anyhow::Result<String> {
    let policy = read_policy(json, settings);
    let policy = policy.map_err(|wrong| anyhow::anyhow!("The policy is not valid: {wrong}."))?;
    Ok(serde_json::to_string(&policy)?)
}

/// Refuses a name that lists and pages could not show.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    match store::wrong_name(name) {
        None => Ok(()),
        Some(wrong) => anyhow::bail!("The name is not valid: {wrong}."),
    }
}

async fn create(
    store: &Store,
    settings: &Settings,
    (id, name, policy): (&str, &str, &str),
) -> anyhow::Result<()> {
    if let Some(wrong) = wrong_project_id(id) {
        anyhow::bail!("{id:?} cannot be the id of a project: {wrong}.");
    }
    check_name(name)?;
    not_declared(settings, id)?;
    let project = Project {
        id: id.to_owned(),
        name: name.to_owned(),
        policy: checked_policy(policy, settings)?,
        version: 1,
        created_at_ms: now_ms(),
        disabled_at_ms: None,
    };
    let entry = audit("project.create", format!("project:{id}"));
    match store.create_project(&project, Some(&entry)).await? {
        WriteOutcome::Exists => anyhow::bail!("The project {id:?} exists already."),
        _ => say(&format!("created {id}")),
    }
    Ok(())
}

fn not_declared(settings: &Settings, id: &str) -> anyhow::Result<()> {
    if settings.projects.iter().any(|project| project.id == id) {
        anyhow::bail!(
            "The project {id:?} is defined in the configuration ([projects.{id}]); change it there."
        );
    }
    Ok(())
}

async fn change(
    store: &Store,
    settings: &Settings,
    (id, action): (&str, &'static str),
    change: impl FnOnce(&mut Project),
) -> anyhow::Result<()> {
    not_declared(settings, id)?;
    let Some(mut project) = store.project(id).await? else { return Err(no_project(id)) };
    change(&mut project);
    let entry = audit(action, format!("project:{id}"));
    match store.update_project(&project, Some(&entry), now_ms()).await? {
        WriteOutcome::Done => say(&format!("changed {id}")),
        WriteOutcome::Absent => return Err(no_project(id)),
        _ => anyhow::bail!("The project {id} was changed at the same time; try again."),
    }
    Ok(())
}

fn no_project(id: &str) -> anyhow::Error {
    anyhow::anyhow!("There is no project {id:?}; `llmgateway projects list` shows them.")
}

async fn purge_cache(store: &Store, settings: &Settings, id: &str) -> anyhow::Result<()> {
    if not_declared(settings, id).is_ok() && store.project(id).await?.is_none() {
        return Err(no_project(id));
    }
    store.purge_cache(id, audit("project.purge_cache", format!("project:{id}")), now_ms()).await?;
    say(&format!("purged the cached answers of {id}"));
    Ok(())
}

async fn delete(store: &Store, settings: &Settings, id: &str) -> anyhow::Result<()> {
    not_declared(settings, id)?;
    if id == store::DEFAULT_PROJECT {
        anyhow::bail!("The project {id:?} cannot be deleted: keys without a project belong to it.");
    }
    let Some(project) = store.project(id).await? else { return Err(no_project(id)) };
    let entry = audit("project.delete", format!("project:{id}"));
    match store.delete_project(id, project.version, Some(&entry), now_ms()).await? {
        WriteOutcome::Done => say(&format!("deleted {id}")),
        WriteOutcome::Absent => return Err(no_project(id)),
        _ => anyhow::bail!(
            "The project {id} has active keys (`llmgateway keys list --project {id}`); revoke them first."
        ),
    }
    Ok(())
}

async fn list(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    for project in &settings.projects {
        let policy = serde_json::to_string(&project.policy)?;
        say(&format!("{:<24} {:<8} {policy}", project.id, "declared"));
    }
    for project in store.projects_after("", u32::MAX).await? {
        if settings.projects.iter().all(|declared| declared.id != project.id) {
            let state = if project.disabled_at_ms.is_some() { "disabled" } else { "active" };
            say(&format!("{:<24} {state:<8} {}", project.id, project.policy));
        }
    }
    Ok(())
}
