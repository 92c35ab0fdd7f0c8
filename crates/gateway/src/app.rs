//! Assembles the gateway and runs it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use store::{Spool, SpoolLimits, SpoolReader, Store, Writer, WriterEvent};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::admission::Books;
use crate::buffers::Buffers;
use crate::cache::ResponseCache;
use crate::clock;
use crate::cluster::{Leases, Link, OutageNotices, Predecessors, SharedConversations, SharedMemory};
use crate::config::Settings;
use crate::config::effective::without_secrets;
use crate::config::redis_url::RedisUrl;
use crate::console::{self, View};
use crate::demo::Demo;
use crate::discovery::Discovery;
use crate::http::server::{self, Limits, Listener};
use crate::http::{Api, ListenerRole, Times};
use crate::identity::Auth;
use crate::metering::Metering;
use crate::nodes::{Heartbeat, ThisNode};
use crate::oidc::SignOn;
use crate::pipeline::Pipeline;
use crate::reload::{Reloader, StartedWith};
use crate::responses::Responses;
use crate::retention::Retention;
use crate::snapshot::{Current, Snapshot, Tools};
use crate::telemetry::Metrics;
use crate::tls::Tls;
use crate::upstream::media::MediaFetcher;
use crate::webhooks::Sender;

/// A gateway that listens and does not serve yet.
pub struct App {
    /// The callers' listener first.
    listeners: Vec<Listener>,
    api: Arc<Api>,
    limits: Limits,
    writer: Writer,
    store: Store,
    webhooks: Sender,
    retention: Retention,
    /// None for a single node.
    outages: Option<OutageNotices>,
}

/// Why the gateway cannot start: one sentence with a remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl App {
    /// Opens the port, the database and the spool.
    pub async fn start(mut settings: Settings) -> Result<Self, StartError> {
        let listeners = listeners(&settings).await?;
        let (database, tls) = (without_secrets(&settings.database_url), settings.tls.is_some());
        let node = listeners[0]
            .socket
            .local_addr()
            .map_or_else(|_| settings.listen.to_string(), |at| at.to_string());
        let store =
            Store::open(&settings.database_url).await.map_err(|error| StartError(error.to_string()))?;
        let (spool, reader) = open_spool(&settings)?;
        let mut demo = Demo::default();
        demo.serve(&mut settings).await.map_err(StartError)?;
        let started_with = StartedWith::of(&settings);
        let metrics = Metrics::of(spool.clone());
        let mut writer = writer(&store, reader);
        // The records that an earlier process left in the spool count as spent too.
        let is_delivered = writer.catch_up().await;
        let this = Arc::new(ThisNode::default());
        let mut predecessors = predecessors(&settings, this.id())?;
        let books = Books::new(store.clone(), predecessors.is_some());
        let leases = leases(&settings, &books, this.id(), &metrics);
        let away = |error: store::StoreError| StartError(error.to_string());
        let auth = Auth::new(store.clone(), books.clone()).await.map_err(away)?;
        let limits = Limits {
            max_connections: settings.max_connections,
            header_limit: settings.header_limit,
            times: Times { keep_alive: settings.keep_alive, head: settings.read_timeout },
            drain: settings.drain,
            shutdown: settings.shutdown,
        };
        let suspensions = auth.suspensions().clone();
        let tools = Tools { metrics: metrics.clone(), hasher: store.key_hasher(), books, suspensions };
        let retention = Retention { store: store.clone(), keep_days: settings.keep_usage_days };
        let (buffer_limit, spool_limit) = (settings.buffer_limit, settings.spool_limit);
        let memory = shared_memory(&settings, &metrics);
        let of_cache = memory.clone().filter(|_| settings.cache.redis);
        let cache = ResponseCache::new(settings.cache, of_cache, auth.purges().clone(), metrics.clone());
        let snapshot = Snapshot::first(settings, &tools);
        tools.books.load().await.map_err(away)?;
        let shared = ClusterParts {
            node: leases.as_ref().map(|_| this.id()),
            leases: leases.clone(),
            memory: memory.clone(),
            cache,
        };
        let pipeline = Arc::new(pipeline(&snapshot, spool, &store, &metrics, shared));
        if let (Some(leases), Some(predecessors)) = (&leases, &mut predecessors) {
            join(leases, predecessors, is_delivered).await;
        }
        let current = Current::new(snapshot);
        let outages =
            memory.map(|memory| OutageNotices::new(memory, current.clone(), this.id(), pipeline.epoch));
        let reloader = Reloader::new(current.clone(), tools.clone(), &started_with, demo);
        let view = View {
            current: current.clone(),
            auth: auth.clone(),
            reloader: reloader.clone(),
            sign_on: SignOn::default(),
            metering: pipeline.metering.clone(),
            database,
            node,
            tls,
            spool_limit,
            epoch: pipeline.epoch,
        };
        let webhooks = Sender { store: store.clone(), books: tools.books.clone(), current: current.clone() };
        let api = Arc::new(Api {
            pipeline,
            auth,
            metrics,
            discovery: Discovery::default(),
            store: store.clone(),
            buffers: Buffers::new(buffer_limit),
            lifecycle: Arc::default(),
            reloader,
            console: console::service(store.clone(), view),
            node: this,
            tls,
            current,
        });
        Ok(Self { listeners, api, limits, writer, store, webhooks, retention, outages })
    }

    pub fn address(&self) -> SocketAddr {
        let none = SocketAddr::from(([127, 0, 0, 1], 0));
        self.listeners.first().and_then(|listener| listener.socket.local_addr().ok()).unwrap_or(none)
    }

    /// The address of operators' routes, if separate from the callers'.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.listeners.get(1)?.socket.local_addr().ok()
    }

    /// The routes' state.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Serves until `stop` is ready, lets answers under way finish unless `at_once` is ready, and moves every
    /// usage record into the database. Returns how many answers were cut.
    pub async fn run(self, stop: impl Future<Output = ()>, at_once: impl Future<Output = ()>) -> usize {
        let (stop_writer, writer_stopped) = oneshot::channel::<()>();
        let writer = self.writer.start(async move {
            let _ = writer_stopped.await;
        });
        let bodies = self.api.pipeline.metering.bodies().clone();
        let (reloader, pipeline) = (self.api.reloader.clone(), self.api.pipeline.clone());
        let auth = self.api.auth.clone();
        let leases = pipeline.leases.clone();
        let report = async {
            match &leases {
                Some(leases) => leases.run().await,
                None => std::future::pending().await,
            }
        };
        let notices = async {
            match &self.outages {
                Some(outages) => outages.run().await,
                None => std::future::pending().await,
            }
        };
        let heart = Heartbeat {
            node: self.api.node.clone(),
            store: self.store.clone(),
            current: self.api.current.clone(),
            reloader: reloader.clone(),
            metering: pipeline.metering.clone(),
            lifecycle: self.api.lifecycle.clone(),
            auth: self.api.auth.clone(),
            leases: leases.clone(),
        };
        let cut = tokio::select! {
            cut = server::serve(self.listeners, self.api, self.limits, stop, at_once) => cut,
            never = reloader.watch() => match never {},
            never = pipeline.responses.expire() => match never {},
            never = bodies.run(&self.store) => match never {},
            never = auth.listen() => match never {},
            never = report => match never {},
            never = notices => match never {},
            never = heart.beat() => match never {},
            never = self.webhooks.run() => match never {},
            never = self.retention.run() => match never {},
        };
        if cut > 0 {
            tracing::warn!(
                answers = cut,
                "answers were cut off: they took longer than server.shutdown_seconds, or a second signal came"
            );
        }
        if let Some(leases) = &leases {
            leases.release_all().await;
        }
        let _ = stop_writer.send(());
        match writer {
            Ok(done) => {
                if done.await.is_err() {
                    tracing::error!("the usage writer died; its records stay in the spool");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the usage writer has no thread; its records stay in the spool")
            }
        }
        bodies.flush(&self.store).await;
        heart.stop().await;
        self.store.close().await;
        cut
    }
}

fn open_spool(settings: &Settings) -> Result<(Spool, SpoolReader), StartError> {
    let limits = SpoolLimits { max_bytes: settings.spool_limit };
    let (spool, reader) =
        Spool::open(&settings.spool, limits).map_err(|error| StartError(error.to_string()))?;
    if spool.interrupted() > 0 {
        tracing::warn!(
            requests = spool.interrupted(),
            "requests with a budget were under way when the gateway was killed; each is recorded with what it had reserved"
        );
    }
    Ok((spool, reader))
}

/// Earlier processes with the same spool, where several nodes share counters.
fn predecessors(settings: &Settings, node: &'static str) -> Result<Option<Predecessors>, StartError> {
    let of_spool = |_: &RedisUrl| {
        Predecessors::of(&settings.spool, node).map_err(|error| {
            StartError(format!("The folder {} cannot be written: {error}.", settings.spool.display()))
        })
    };
    settings.redis.as_ref().map(of_spool).transpose()
}

async fn listeners(settings: &Settings) -> Result<Vec<Listener>, StartError> {
    let tls = settings.tls.clone().map(Tls::load).transpose().map_err(StartError)?;
    let door = if settings.internal_listen.is_some() { ListenerRole::Callers } else { ListenerRole::Only };
    let mut listeners =
        vec![Listener { socket: listen(settings.listen).await?, door, tls, h2c: settings.h2c }];
    if let Some(address) = settings.internal_listen {
        let socket = listen(address).await?;
        listeners.push(Listener { socket, door: ListenerRole::Operators, tls: None, h2c: false });
    }
    Ok(listeners)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        StartError(match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "The address {address} is in use; stop the process that uses it, or choose another with --listen 127.0.0.1:PORT."
            ),
            std::io::ErrorKind::PermissionDenied => {
                format!("The port of {address} needs more privileges; choose one above 1023 with --listen.")
            }
            _ => format!("The address {address} cannot be listened on ({error}); choose another with --listen."),
        })
    })
}

fn leases(settings: &Settings, books: &Books, node: &'static str, metrics: &Metrics) -> Option<Arc<Leases>> {
    let up = metrics.shared_counters_up().clone();
    let link = Link::new(settings.redis.clone()?, &settings.outbound.authorities, up);
    Some(Leases::new(link, books.clone(), node, settings.exact_limits, metrics.clone()))
}

/// The data that nodes share besides counters.
fn shared_memory(settings: &Settings, metrics: &Metrics) -> Option<Arc<SharedMemory>> {
    let up = metrics.shared_memory_up().clone();
    let link = Link::new(settings.redis.clone()?, &settings.outbound.authorities, up);
    Some(SharedMemory::new(link))
}

/// Opens the connection to the common counters, and releases the parts of earlier processes with the same
/// spool, if the ledger contains all their spending. A failure is retried by the report and at the next
/// start.
async fn join(leases: &Leases, predecessors: &mut Predecessors, is_delivered: bool) {
    if leases.try_again().await.is_err() || !is_delivered || predecessors.ids().is_empty() {
        return;
    }
    if leases.retire(predecessors.ids()).await.is_ok()
        && let Err(error) = predecessors.forget()
    {
        tracing::warn!(%error, "the ids of earlier processes stay in the spool's folder");
    }
}

/// The data that requests share with other nodes, if there are any.
struct ClusterParts {
    node: Option<&'static str>,
    leases: Option<Arc<Leases>>,
    memory: Option<Arc<SharedMemory>>,
    cache: Arc<ResponseCache>,
}

fn pipeline(
    snapshot: &Snapshot,
    spool: Spool,
    store: &Store,
    metrics: &Metrics,
    shared: ClusterParts,
) -> Pipeline {
    let ClusterParts { node, leases, memory, cache } = shared;
    Pipeline {
        media: MediaFetcher::guarded(snapshot.outbound.route()),
        metering: Metering::new(spool, metrics.clone(), node),
        leases,
        conversations: memory.map(SharedConversations::new),
        cache,
        responses: Responses::new(store.clone(), metrics.clone()),
        proof_memory: crate::pipeline::proof_memory::ProofMemory::default(),
        seeds: crate::pipeline::Seeds::default(),
        hops: crate::hops::Hops::default(),
        epoch: clock::now(),
        settled: crate::pipeline::batch::Settled::default(),
    }
}

fn writer(store: &Store, reader: SpoolReader) -> Writer {
    Writer::new(store.clone(), reader, |event| match event {
        WriterEvent::Flushed { records, .. } => tracing::debug!(records, "usage records written"),
        WriterEvent::DatabaseAway { error } => {
            tracing::warn!("usage records cannot be moved into the database, and wait: {error}");
        }
        WriterEvent::TornLine => {
            tracing::warn!(
                "a usage record was being written when the process died; its answer was not finished"
            );
        }
        WriterEvent::Rejected => {
            tracing::warn!("a line of the usage spool is damaged; it was moved to rejected.jsonl beside it");
        }
        WriterEvent::Refused { records, file, error } => tracing::error!(
            records,
            "the database refuses usage records; they were moved to {}: {error}",
            file.display()
        ),
        WriterEvent::SumsSetAside { what, error } => tracing::error!(
            "sums of usage cannot be added to those of hours and days, and were set aside: {what}: {error}"
        ),
        WriterEvent::Vanished { records } => tracing::error!(
            records,
            "usage records are lost: a file of the usage spool was deleted or changed by another process"
        ),
    })
}
