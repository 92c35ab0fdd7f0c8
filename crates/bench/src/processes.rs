//! Measured processes: started here, pinned, read for CPU time and memory, and ended here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::{self, Load, Request};

/// A child process. It ends when its value is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    started: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// On processor 0. Load and upstream are on processor 1.
    Measured,
    Any,
}

impl Process {
    /// Starts a command whose output goes to a log in `folder`. The command stays in the foreground, so that
    /// killing it is enough. Its standard input ends when this process ends in any way.
    pub fn start(name: &str, command: &[String], processor: Processor, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let pinned: Vec<String> = match processor {
            Processor::Any => Vec::new(),
            Processor::Measured => ["taskset", "-c", "0"].map(str::to_owned).to_vec(),
        };
        let words: Vec<&String> = pinned.iter().chain(command).collect();
        let started = Instant::now();
        let child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{name} cannot be started: {}", words[0]))?;
        Ok(Self { child, log, started })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends requests until a correct answer arrives, and returns the time since the start.
    pub async fn ready(&mut self, request: &Rc<Request>, patience: Duration) -> Result<Duration> {
        let once = Load { requests: 1, limit: patience, concurrency: 1, rate: None };
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it stopped at once ({status}):\n{}", self.last_words());
            }
            let outcome = load::run(request, once).await;
            if outcome.good == 1 {
                return Ok(self.started.elapsed());
            }
            if self.started.elapsed() > patience {
                let why = outcome.failure.unwrap_or_default();
                bail!("no good answer within {} s: {why}\n{}", patience.as_secs(), self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// The CPU time of its threads so far. Threads that have ended are forgotten: compare with `Cpu::until`.
    pub fn cpu(&self) -> Result<Cpu> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let thread = thread?;
            // A thread may end while the list is read.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
            threads.insert(thread.file_name().to_string_lossy().into_owned(), nanoseconds.unwrap_or(0));
        }
        Ok(Cpu { threads })
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The largest resident memory since the start or since `forget_peak`, in bytes.
    pub fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Lets `peak` begin anew.
    pub fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.id()), "5").context("the peak of memory is not reset")
    }

    fn status(&self, name: &'static str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU time by thread, in nanoseconds.
pub struct Cpu {
    threads: BTreeMap<String, u64>,
}

impl Cpu {
    /// Of all threads.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.threads.values().sum())
    }

    /// The use between the two.
    pub fn until(&self, later: &Self) -> Duration {
        let used = |(thread, nanoseconds): (&String, &u64)| {
            nanoseconds.saturating_sub(self.threads.get(thread).copied().unwrap_or(0))
        };
        Duration::from_nanos(later.threads.iter().map(used).sum())
    }
}

/// A free port of loopback.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Whether processes can be pinned to processors 0 and 1.
pub fn can_pin() -> bool {
    let try_pin = |processor| {
        let mut command = Command::new("taskset");
        let status =
            command.args(["-c", processor, "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    try_pin("0") && try_pin("1")
}

/// Moves this process and its threads to the harness's processor.
pub fn pin_harness() -> bool {
    let id = std::process::id().to_string();
    let mut command = Command::new("taskset");
    let status =
        command.args(["-a", "-c", "-p", "1", &id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// How long all processors together were busy since the machine started.
pub fn machine_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "))
        .context("no line of all processors")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal …, in hundredths of a second on every Linux.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum();
    Ok(Duration::from_millis(busy * 10))
}

/// The CPU time of this process.
pub fn own_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}
