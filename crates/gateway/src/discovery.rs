//! The models of providers that the catalog does not list: an operator's own, and servers whose models their
//! operator chooses. They are asked for their lists, which are cached. Requests to models never wait for this
//! and never need it: it is for `GET /v1/models` and the command line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::providers::{Call, ListedModel, list_request, read_list};

use crate::clock;
use crate::hops::HOPS;
use crate::snapshot::{ProviderHandle, Snapshot};

/// How long a list is fresh. After that it is requested again, and the old one is used until the new one
/// arrives.
const FRESH: Duration = Duration::from_secs(60);
/// How long a list without models is fresh: the server may just be starting.
const SOON: Duration = Duration::from_secs(5);
/// A provider's deadline for its list.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request for models waits for providers that were not asked before.
const WAIT: Duration = Duration::from_secs(2);
/// Largest list.
const LIMIT: usize = 4 << 20;

pub type Lists = HashMap<String, Arc<Vec<ListedModel>>>;

/// Keeps the lists.
#[derive(Default)]
pub struct Discovery {
    kept: Mutex<HashMap<String, CachedListing>>,
}

struct CachedListing {
    base_url: String,
    asked: Instant,
    /// None until the first answer, or the first failure.
    list: watch::Receiver<Option<Arc<Vec<ListedModel>>>>,
}

impl CachedListing {
    fn is_fresh(&self) -> bool {
        let is_empty = self.list.borrow().as_ref().is_some_and(|list| list.is_empty());
        self.asked.elapsed() < if is_empty { SOON } else { FRESH }
    }
}

impl Discovery {
    /// The lists of every enabled provider that has to be asked. `hops` is the header for providers that may be
    /// gateways.
    pub async fn lists(&self, snapshot: &Snapshot, hops: Option<HeaderValue>) -> Lists {
        let asked: Vec<_> = snapshot
            .enabled()
            .filter(|provider| provider.names_models)
            .map(|provider| (provider.id().to_owned(), self.ask(provider, hops.as_ref())))
            .collect();
        let deadline = clock::now() + WAIT;
        let mut lists = Lists::new();
        for (id, mut list) in asked {
            let answered = tokio::time::timeout_at(deadline, list.wait_for(Option::is_some)).await;
            if let Ok(Ok(found)) = answered
                && let Some(models) = found.as_ref()
            {
                lists.insert(id, models.clone());
            }
        }
        lists
    }

    /// The cached list of the provider. An old one is requested again, once at a time.
    fn ask(
        &self,
        provider: &Arc<ProviderHandle>,
        hops: Option<&HeaderValue>,
    ) -> watch::Receiver<Option<Arc<Vec<ListedModel>>>> {
        let base_url = &provider.settings.base_url;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.get(provider.id()).filter(|kept| kept.base_url == *base_url);
        if let Some(before) = before
            && before.is_fresh()
        {
            return before.list.clone();
        }
        let last = before.and_then(|before| before.list.borrow().clone());
        let (sender, list) = watch::channel(last.clone());
        let entry = CachedListing { base_url: base_url.clone(), asked: clock::now(), list: list.clone() };
        kept.insert(provider.id().to_owned(), entry);
        drop(kept);
        let provider = provider.clone();
        let hops = hops.filter(|_| provider.settings.base_url_source.is_some()).cloned();
        #[expect(
            clippy::disallowed_methods,
            reason = "ends after `PATIENCE`; several requests wait for its result"
        )]
        tokio::spawn(async move {
            let asked = tokio::time::timeout(PATIENCE, fetch(&provider, hops)).await;
            let found = asked.unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())));
            let list = found.unwrap_or_else(|reason| {
                tracing::info!(provider = provider.id(), reason, "a provider did not list its models");
                last.map_or_else(Vec::new, |last| last.to_vec())
            });
            let _ = sender.send(Some(Arc::new(list)));
        });
        list
    }
}

async fn fetch(provider: &ProviderHandle, hops: Option<HeaderValue>) -> Result<Vec<ListedModel>, String> {
    let credential =
        provider.credentials.credential(0, None).await.map_err(|error| error.message.into_owned())?;
    let request = list_request(&Call {
        base_url: &provider.settings.base_url,
        protocol: provider.row.protocol,
        model: "",
        streaming: false,
        body: Bytes::new(),
        credential: &credential,
        auth: &provider.row.auth,
        headers: &provider.row.headers,
        passed: &[],
        path: None,
        settings: &provider.settings.settings,
        now: clock::wall(),
    });
    let Some(request) = request else { return Ok(Vec::new()) };
    let mut request = request.map_err(|error| error.message.into_owned())?;
    if let Some(hops) = hops {
        request.headers_mut().insert(HOPS, hops);
    }
    let response = provider.client.exchange(request, LIMIT).await?;
    if response.status().is_success() {
        read_list(response.body()).ok_or_else(|| "its list is not understood".to_owned())
    } else {
        Err(format!("it answered with status {}", response.status().as_u16()))
    }
}
