//! A real Prometheus in a namespace, that scrapes what is served there and is asked over its HTTP API.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::netns::{Namespace, Process};
use crate::programs;
use crate::samples::OF_PACKETS;
use crate::served::{Folder, PATIENCE};

/// In a namespace of its own every port is free.
const API: &str = "127.0.0.1:9090";
const LOOK_AGAIN_IN: Duration = Duration::from_millis(100);

/// A running Prometheus; it ends with the value, and so does what it has stored.
#[derive(Debug)]
pub struct Prometheus<'a> {
    namespace: &'a Namespace,
    folder: Folder,
    agent: ureq::Agent,
    process: Process,
}

/// A series of an answer, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name and labels.
    pub labels: Value,
    /// The value of now.
    pub value: f64,
}

impl<'a> Prometheus<'a> {
    /// Where the program is, if it is here.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        programs::find("prometheus")
    }

    /// Starts it, and waits until it answers. Each target is a job's name and an address of the namespace, to be scraped
    /// every so often, as Prometheus writes a duration.
    pub fn start(namespace: &'a Namespace, interval: &str, targets: &[(&str, &str)]) -> Result<Self> {
        let program = Self::program().context("there is no prometheus: run `cargo xtask setup`")?;
        let folder = Folder::new("prometheus")?;
        let mut settings = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nscrape_configs:\n"
        );
        for (job, target) in targets {
            writeln!(settings, "  - job_name: {job:?}\n    static_configs: [{{ targets: [{target:?}] }}]")?;
        }
        let file = folder.replace("prometheus.yml", settings)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = namespace.command(
            program,
            [
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", folder.path().join("data").display()),
                format!("--web.listen-address={API}"),
                "--log.level=debug".to_owned(),
            ],
        );
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = Process::start(&mut command)?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build()
            .into();
        let mut prometheus = Self { namespace, folder, agent, process };
        prometheus.until_ready()?;
        Ok(prometheus)
    }

    fn until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.process.child().try_wait()? {
                bail!("prometheus: {status}: {}", self.log()?);
            }
            let answer = self.namespace.run(|| self.agent.get(format!("http://{API}/-/ready")).call());
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN_IN);
        }
        bail!("prometheus does not become ready: {}", self.log()?)
    }

    /// All that it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Every series that an expression gives, now.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.api("query", &[("query", expression)])?;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let sample = |row: &Value| {
            let value =
                number(&row["value"][1]).with_context(|| format!("{expression}: no value in {row}"))?;
            Ok(Sample { labels: row["metric"].clone(), value })
        };
        match data["resultType"].as_str() {
            Some("scalar") => {
                let value = number(&data["result"][1]).with_context(|| format!("{expression}: {data}"))?;
                Ok(vec![Sample { labels: Value::Null, value }])
            }
            _ => data["result"].as_array().context("no list")?.iter().map(sample).collect(),
        }
    }

    /// The one value of an expression, if it has one.
    pub fn value(&self, expression: &str) -> Result<Option<f64>> {
        let samples = self.query(expression)?;
        ensure!(samples.len() < 2, "{expression}: more than one series: {samples:?}");
        Ok(samples.first().map(|sample| sample.value))
    }

    /// Waits until the one value of an expression is as wanted.
    pub fn until(&self, expression: &str, wanted: impl Fn(f64) -> bool) -> Result<()> {
        self.until_meanwhile(expression, wanted, || {})
    }

    /// The same, and something is done before each look.
    pub fn until_meanwhile(
        &self,
        expression: &str,
        wanted: impl Fn(f64) -> bool,
        mut work: impl FnMut(),
    ) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            work();
            let value = self.value(expression)?;
            if value.is_some_and(&wanted) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{expression} is {value:?}");
            std::thread::sleep(LOOK_AGAIN_IN);
        }
    }

    /// Waits until that value is this number.
    pub fn becomes(&self, expression: &str, value: u64) -> Result<()> {
        self.until(expression, |now| now == value as f64)
            .with_context(|| format!("it should be {value}"))
            .map(drop)
    }

    /// How often a counter of packets went back, of any series, since it began.
    pub fn resets(&self) -> Result<u64> {
        let mut all = 0.0;
        for name in OF_PACKETS {
            // None of those that there are only once something was counted.
            all += self.value(&format!("sum(resets({name}[1h]))"))?.unwrap_or_default();
        }
        let known = self.value("count(count_over_time(fwctl_packets_total[1h]))")?;
        ensure!(known.is_some(), "there is no counter of packets");
        Ok(all as u64)
    }

    /// The type that a target gives a metric, if it has it.
    pub fn kind(&self, job: &str, metric: &str) -> Result<Option<String>> {
        let target = format!("{{job={job:?}}}");
        let rows = self.api("targets/metadata", &[("match_target", &target), ("metric", metric)])?;
        Ok(rows[0]["type"].as_str().map(str::to_owned))
    }

    /// What a label of a metric is.
    pub fn label_values(&self, metric: &str, label: &str) -> Result<Vec<String>> {
        let values = self.api(&format!("label/{label}/values"), &[("match[]", metric)])?;
        Ok(serde_json::from_value(values)?)
    }

    /// Lines of its log that say what is wrong with what it scrapes, or with itself. That a scrape took long is no fault
    /// of its answer.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let is_one = |line: &&str| {
            ["level=warn", "level=error", "Scrape failed", "Append failed"]
                .iter()
                .any(|part| line.contains(part))
                && !line.contains("deadline exceeded")
        };
        Ok(self.log()?.lines().filter(is_one).map(str::to_owned).collect())
    }

    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{API}/api/v1/{path}");
        let answered = self.namespace.run(|| {
            let answer = self.agent.get(&url).query_pairs(parameters.iter().copied()).call();
            answer.and_then(|mut answer| answer.body_mut().read_to_string())
        });
        let text = answered.with_context(|| format!("{url}: {parameters:?}"))?;
        let mut answer: Value = serde_json::from_str(&text).with_context(|| format!("{url}: {text}"))?;
        ensure!(answer["status"] == "success", "{parameters:?}: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}
