//! mock
#![allow(missing_docs)]
use std::path::PathBuf;
use std::sync::Arc;
pub struct Daemon;
impl Daemon {
    pub fn new() -> Self {
        Daemon
    }
    pub fn loaded(&self, _: bool) {}
    pub fn hook_mended(&self) {}
    pub fn device_attached(&self) {}
    pub fn swept(&self, _: u64) {}
}
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum RuleMetrics {
    Off,
    On,
}
pub struct Exporter;
impl Exporter {
    pub fn new(_: PathBuf, _: RuleMetrics, _: Arc<Daemon>) -> Self {
        Exporter
    }
}
