//! mock
#![allow(missing_docs)]
use crate::error::{Error, Result};
use crate::metrics::Exporter;
use std::sync::Arc;
#[derive(Debug, Clone)]
pub struct Listen(pub String);
impl std::str::FromStr for Listen {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Ok(Listen(s.to_owned()))
    }
}
#[derive(Debug, Clone)]
pub struct WebConfig;
impl WebConfig {
    pub fn read(_: &std::path::Path) -> Result<Self> {
        Ok(WebConfig)
    }
}
pub struct Bound(String);
pub async fn bind(l: &Listen, _: Option<WebConfig>) -> Result<Bound> {
    Ok(Bound(l.0.clone()))
}
impl Bound {
    pub fn address(&self) -> String {
        self.0.clone()
    }
    pub async fn serve(self, _: Arc<Exporter>, shutdown: impl Future<Output = ()>) {
        shutdown.await
    }
}
