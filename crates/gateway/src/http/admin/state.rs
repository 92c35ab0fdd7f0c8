//! The state of the gateway: models, providers, routing, nodes; and the dry run of a request.

use bytes::Bytes;
use canon::{Error, Operation};
use http::StatusCode;
use serde_json::{Value, json};
use store::WriteOutcome;

use super::{AdminRequest, Answer, absent, conflict, deleted, list};
use crate::clock;
use crate::http::respond;
use crate::nodes;
use crate::pipeline::explain;
use crate::report;

impl AdminRequest<'_> {
    /// The models of the catalog in force, one entry per provider; with `provider` only those of one.
    pub(super) async fn models(&self) -> Answer {
        let wanted = self.parameter("provider");
        let (after, limit) = (self.parameter("after").unwrap_or_default(), self.limit()?);
        let today = clock::today();
        let all = self.parameter("all").is_some_and(|all| all == "true");
        let snapshot = self.snapshot;
        let aliases = snapshot.aliases.iter().map(|(name, alias)| {
            (name.clone(), json!({"object": "alias", "id": name, "targets": alias.targets}))
        });
        let servings = snapshot.catalog.models().flat_map(|model| {
            let servings = model.servings.iter().filter(|serving| !serving.is_gone(&today));
            servings
                .map(move |serving| (format!("{}/{}", serving.provider, serving.upstream_id), model, serving))
        });
        let is_on =
            |provider: &str| snapshot.providers.get(provider).is_some_and(|it| it.disabled().is_none());
        let servings = servings
            .filter(|(_, _, serving)| wanted.as_ref().is_none_or(|id| *id == serving.provider))
            .filter(|(_, _, serving)| all || wanted.is_some() || is_on(&serving.provider));
        let served = servings.map(|(id, model, serving)| {
            let mut object = report::serving_object(model, serving, is_on(&serving.provider));
            object["object"] = "model".into();
            object["id"] = id.as_str().into();
            (id, object)
        });
        let aliases = aliases.filter(|_| wanted.is_none());
        let mut rows: Vec<(String, Value)> = aliases.chain(served).filter(|(id, _)| *id > after).collect();
        rows.sort_by(|left, right| left.0.cmp(&right.0));
        rows.dedup_by(|left, right| left.0 == right.0);
        let next = rows.get(limit as usize).map(|_| rows[limit as usize - 1].0.clone());
        let data: Vec<Value> = rows.into_iter().take(limit as usize).map(|(_, row)| row).collect();
        Ok(list(&data, next))
    }

    /// The providers of the catalog in force, with the reasons of disabled ones.
    pub(super) async fn providers(&self) -> Answer {
        let mut providers: Vec<_> = self.snapshot.providers.values().collect();
        providers.sort_by(|left, right| left.id().cmp(right.id()));
        let suspensions = self.api.auth.active_suspensions();
        let object = |provider: &&std::sync::Arc<crate::snapshot::ProviderHandle>| {
            json!({
                "object": "provider",
                "id": provider.id(),
                "enabled": provider.disabled().is_none(),
                "disabled_because": provider.disabled(),
                "keys": provider.key_labels,
                "credential_from": provider.settings.credential_source,
                "names_models": provider.names_models,
                "region": provider.settings.region(""),
                "trains_on_data": provider.settings.trains_on_data,
                "retains_data": provider.settings.retains_data,
                "suspensions": suspensions.iter().filter(|suspension| suspension.provider == provider.id()).map(report::suspension_object).collect::<Value>(),
            })
        };
        Ok(list(&providers.iter().map(object).collect::<Vec<_>>(), None))
    }

    /// The measurements of each provider's models by operation, on this node.
    pub(super) async fn routing(&self) -> Answer {
        let now = self.api.pipeline.now();
        let known = self.snapshot.health.known();
        let operation = |(operation, health): (Operation, &routing::Health)| {
            let mut object = serde_json::to_value(health.snapshot(now)).unwrap_or_default();
            object["object"] = "routing_state".into();
            object["operation"] = operation.as_str().into();
            object
        };
        Ok(list(&known.map(operation).collect::<Vec<_>>(), None))
    }

    /// The dry run of the request in the body. Nothing is sent.
    pub(super) async fn explain(&self) -> Answer {
        let body = Bytes::copy_from_slice(self.body);
        let name = self.parameter("operation").unwrap_or_else(|| Operation::Chat.as_str().to_owned());
        let known = [Operation::Chat, Operation::Embeddings, Operation::Rerank, Operation::Moderations];
        let Some(operation) = known.into_iter().find(|operation| operation.as_str() == name) else {
            let names = known.map(Operation::as_str).join(", ");
            return Err(Error::invalid("operation", format!("operation must be one of {names}.")).into());
        };
        let now = self.api.pipeline.now();
        let (body, guardrails) = match self.parameter("project") {
            Some(id) => {
                let policy = self.policy_of(&id).await?;
                let names = policy.guardrails.iter().map(String::as_str);
                let (body, actions) = self.snapshot.guardrails.rehearse(names, &body)?;
                (body, Some(actions))
            }
            None => (body, None),
        };
        let explanation = match operation {
            Operation::Chat => explain::explain(self.snapshot, &body, now)?,
            other => explain::explain_operation(self.snapshot, other, &body, now)?,
        };
        Ok(respond::json(StatusCode::OK, explanation.guarded(guardrails).as_json().to_string()))
    }

    /// The processes on this database.
    pub(super) async fn nodes(&self) -> Answer {
        let now = clock::now_ms();
        let rows = self.api.store.nodes().await?;
        let object = |node: &store::Node| {
            let mut object = report::node_object(node, now);
            object["this"] = (node.id == self.api.node.id()).into();
            object
        };
        Ok(list(&rows.iter().map(object).collect::<Vec<_>>(), None))
    }

    /// Declares a node lost.
    pub(super) async fn forget_node(&self, id: &str) -> Answer {
        match nodes::forget(&self.api.store, id, &format!("key:{}", self.caller.key_id)).await? {
            WriteOutcome::Done => Ok(deleted("node", id)),
            WriteOutcome::Changed | WriteOutcome::Exists => {
                Err(conflict(format!("{}.", nodes::not_forgotten(id))))
            }
            WriteOutcome::Absent => Err(absent("node", id).into()),
        }
    }
}
