//! What operators see: metrics and log lines.

pub mod log;
mod metrics;

pub use metrics::{Metrics, OTHER, RouteCounters, RouteMetrics};
