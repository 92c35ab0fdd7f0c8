//! `llmgateway-bench`: measures the cost of the gateway. `cargo xtask bench` and `cargo xtask count` build
//! and run it.
//!
//! Everything happens on loopback, and only processes that were started here are ended.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]

mod answers;
mod check;
mod count;
mod fleet;
mod floor;
mod http1;
mod large;
mod load;
mod mock;
mod processes;
mod report;
mod run;
mod secure;
mod targets;
mod works;

#[cfg(test)]
mod smoke;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "llmgateway-bench", about)]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Compare with nginx and with a proxy that does nothing.
    Run(run::Arguments),
    /// Count instructions and allocations of one request.
    Count(count::Arguments),
    /// Run as the proxy that does nothing.
    Floor(floor::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(report) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(order: Order) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let work = async {
            match order {
                Order::Run(arguments) => run::run(&arguments).await,
                Order::Floor(arguments) => floor::run(&arguments).await,
                Order::Count(arguments) => count::run(&arguments).await,
            }
        };
        // Child processes end when the values that own them are dropped.
        tokio::select! {
            result = work => result,
            why = interrupted() => Err(why),
        }
    })
}

async fn interrupted() -> anyhow::Error {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    anyhow::anyhow!("interrupted")
}

#[expect(clippy::print_stdout, reason = "the command talks to a person")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the command talks to a person")]
fn progress(text: &str) {
    eprintln!("{text}");
}
