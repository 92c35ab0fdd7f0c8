//! Memory and CPU time of one large upload, and of one large answer.

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::{Arguments, GATEWAY};
use crate::fleet::{Starter, Target};
use crate::http1::Connection;
use crate::large::{self, RECORDING};
use crate::report::{Report, median, shown};
use crate::targets::Size;

/// Most memory of an upload, in MiB: it must pass without being held.
const UPLOAD_TARGET: f64 = 8.0;
/// Most memory of vectors, as a multiple of the upstream's answer.
const VECTORS_TARGET: f64 = 3.0;
/// An upload for which connections, buffers and pages of the program are made.
const WARM: usize = 16 << 20;
const MIB: f64 = (1 << 20) as f64;

#[derive(Clone, Copy)]
enum Kind {
    Upload,
    Vectors,
}

/// What one request took.
struct RequestCost {
    milliseconds: f64,
    /// Growth of the largest resident memory, in MiB.
    memory: f64,
}

/// One request at a time, each on a fresh gateway that has served a small upload.
pub async fn large(arguments: &Arguments, starter: &Starter<'_>, report: &mut Report) -> Result<()> {
    let answer = large::vectors().len() as f64 / MIB;
    let mut rows = Vec::new();
    let kinds = [
        (Kind::Upload, format!("a recording of {} MiB to the upstream", RECORDING >> 20), UPLOAD_TARGET),
        (
            Kind::Vectors,
            format!("{} vectors of {} numbers, {answer:.0} MiB, to base64", large::VECTORS, large::LENGTH),
            VECTORS_TARGET * answer,
        ),
    ];
    for (kind, name, target) in kinds {
        let mut taken = Vec::new();
        for _ in 0..arguments.rounds {
            let (gateway, _) = starter.gateway(GATEWAY, &arguments.gateway, Size::default()).await?;
            taken.push(measured(&gateway, kind).await.with_context(|| name.clone())?);
        }
        crate::progress(&format!("large: {name}"));
        let of = |part: fn(&RequestCost) -> f64| shown(median(&taken.iter().map(part).collect::<Vec<_>>()));
        rows.push(vec![name, of(|taken| taken.milliseconds), of(|taken| taken.memory), shown(Some(target))]);
    }
    let heading = ["one request of", "CPU ms", "most memory, MiB", "target"];
    report.section("Large requests and answers", &heading, &rows);
    Ok(())
}

async fn measured(gateway: &Target, kind: Kind) -> Result<RequestCost> {
    let address = gateway.address().context("the gateway listens nowhere")?;
    let mut connection = Connection::new(TcpStream::connect(address).await?)?;
    large::upload(&mut connection, WARM).await?;
    let process = gateway.process();
    process.forget_peak()?;
    let (memory, cpu) = (process.peak()?, process.cpu()?);
    match kind {
        Kind::Upload => large::upload(&mut connection, RECORDING).await?,
        Kind::Vectors => large::embed(&mut connection).await?,
    }
    Ok(RequestCost {
        milliseconds: cpu.until(&process.cpu()?).as_secs_f64() * 1e3,
        memory: process.peak()?.saturating_sub(memory) as f64 / MIB,
    })
}
