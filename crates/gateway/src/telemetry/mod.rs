//! Data for operators: metrics and log lines.

pub mod access;
pub mod log;
mod metrics;
#[cfg(test)]
mod page;

pub use metrics::{Metrics, OTHER, RouteCounters, RouteMetrics};
