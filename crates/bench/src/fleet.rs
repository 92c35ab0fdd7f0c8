//! The targets that run side by side during a comparison.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{self, Load, LoadResult, Request};
use crate::processes::{self, Process, Processor};
use crate::targets::{self, KEY, Size, Upstreams};
use crate::works::{self, Work};

/// Enough time for a target to finish the work of the last request, such as writing usage records.
const SETTLE: Duration = Duration::from_millis(400);

const PATIENCE: Duration = Duration::from_secs(60);

/// A running proxy.
pub struct Target {
    pub name: &'static str,
    /// Whether it takes the model from the request. The others always forward to the same upstream.
    routes: bool,
    /// By pace of the upstream. The same process may serve both.
    places: Vec<ProxyProcess>,
}

struct ProxyProcess {
    process: Process,
    burst: Option<SocketAddr>,
    paced: Option<SocketAddr>,
}

pub struct Measured {
    pub outcome: LoadResult,
    /// CPU time of the target's process.
    pub cpu: Duration,
}

impl Measured {
    /// CPU time of one request in microseconds.
    pub fn cpu_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.outcome.good.max(1) as f64
    }
}

/// Starts targets, each in its own folder.
pub struct Starter<'a> {
    pub scratch: &'a Path,
    pub upstreams: &'a Upstreams,
    pub processor: Processor,
}

impl Starter<'_> {
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        // nginx needs an absolute path.
        Ok(folder.canonicalize()?)
    }

    pub async fn nginx(&self, program: &Path) -> Result<Target> {
        let folder = self.folder("nginx")?;
        let (burst, paced) = (processes::free_address()?, processes::free_address()?);
        let ports = [(burst, self.upstreams.burst), (paced, self.upstreams.paced)];
        let command = targets::nginx_command(program, &folder, ports)?;
        let process = Process::start("nginx", &command, self.processor, &folder)?;
        let place = ProxyProcess { process, burst: Some(burst), paced: Some(paced) };
        Target { name: "nginx", routes: false, places: vec![place] }.ready().await
    }

    /// The proxy that does nothing, with this depth of inspection. Only the plain one serves paced streams.
    pub async fn floor(&self, name: &'static str, look: &str) -> Result<Target> {
        let folder = self.folder(name)?;
        let mut places = Vec::new();
        let paces = [(self.upstreams.burst, false), (self.upstreams.paced, true)];
        for (upstream, paced) in paces.into_iter().take(if look == "nothing" { 2 } else { 1 }) {
            let listen = processes::free_address()?;
            let command = targets::floor_command(listen, upstream, look)?;
            let process =
                Process::start(if paced { "paced" } else { "burst" }, &command, self.processor, &folder)?;
            let place = if paced {
                ProxyProcess { process, burst: None, paced: Some(listen) }
            } else {
                ProxyProcess { process, burst: Some(listen), paced: None }
            };
            places.push(place);
        }
        Target { name, routes: false, places }.ready().await
    }

    pub async fn gateway(
        &self,
        name: &'static str,
        program: &Path,
        size: Size,
    ) -> Result<(Target, Duration)> {
        let folder = self.folder(name)?;
        let listen = processes::free_address()?;
        let config = targets::gateway_config(&folder, listen, self.upstreams, size)?;
        let command = targets::gateway_command(program, &config);
        let mut process = Process::start(name, &command, self.processor, &folder)?;
        let request = Request::new(listen, KEY, works::UNARY.model, works::UNARY.prompt, false);
        let startup = process.ready(&Rc::new(request), PATIENCE).await.context(name)?;
        let place = ProxyProcess { process, burst: Some(listen), paced: Some(listen) };
        Ok((Target { name, routes: true, places: vec![place] }, startup))
    }
}

impl Target {
    async fn ready(mut self) -> Result<Self> {
        for place in &mut self.places {
            let listen = place.burst.or(place.paced).context("it listens nowhere")?;
            let request = Request::new(listen, KEY, works::UNARY.model, works::UNARY.prompt, false);
            place.process.ready(&Rc::new(request), PATIENCE).await.context(self.name)?;
        }
        Ok(self)
    }

    /// The process that serves this work, and its address.
    fn place(&self, work: &Work) -> Option<(&Process, SocketAddr)> {
        self.places.iter().find_map(|place| {
            let address = if work.paced { place.paced } else { place.burst };
            Some((&place.process, address?))
        })
    }

    /// Whether it can be compared in this work.
    pub fn serves(&self, work: &Work) -> bool {
        self.place(work).is_some()
    }

    /// The CPU time of all its processes.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for place in &self.places {
            sum += place.process.cpu()?.total();
        }
        Ok(sum)
    }

    /// The process, where there is one.
    pub fn process(&self) -> &Process {
        &self.places[0].process
    }

    /// The address of the first of them.
    pub fn address(&self) -> Option<SocketAddr> {
        self.places[0].burst
    }

    pub fn request(&self, work: &Work) -> Result<Rc<Request>> {
        let (_, address) = self.place(work).context("the target does not serve this work")?;
        Ok(Rc::new(if self.routes {
            Request::of(address, work)
        } else {
            Request::new(address, KEY, works::UNARY.model, work.prompt, work.stream)
        }))
    }

    /// Warms up, sends a load, and fails if an answer was wrong.
    pub async fn measure(&self, work: &Work, load: Load) -> Result<Measured> {
        let (process, _) = self.place(work).context("the target does not serve this work")?;
        let request = self.request(work)?;
        let warm = Load { requests: load.requests / 20 + load.concurrency, rate: None, ..load };
        load::run(&request, warm).await.all_good().with_context(|| self.label(work, process))?;
        tokio::time::sleep(SETTLE).await;
        let before = process.cpu()?;
        let outcome = load::run(&request, load).await;
        tokio::time::sleep(SETTLE).await;
        let cpu = before.until(&process.cpu()?);
        outcome.all_good().with_context(|| self.label(work, process))?;
        Ok(Measured { outcome, cpu })
    }

    fn label(&self, work: &Work, process: &Process) -> String {
        format!("{}: {}; the end of its log:\n{}\n", work.name, self.name, process.last_words())
    }
}
