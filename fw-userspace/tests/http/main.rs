//! The listener of the metrics, and those who ask it badly. Nothing has to be loaded, and nobody to be root.

mod limits;
mod routes;
mod secured;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fw_userspace::metrics::{Daemon, Exporter, RuleMetrics};
use fw_userspace::serve::http::{self, Limits, Listen, WebConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener on a free port.
struct Served {
    listen: Listen,
    exporter: Arc<Exporter>,
    log: Arc<Mutex<Vec<String>>>,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    async fn new(limits: Limits) -> Self {
        Self::on("127.0.0.1:0", None, limits).await
    }

    async fn on(listen: &str, web: Option<WebConfig>, limits: Limits) -> Self {
        let exporter =
            Arc::new(Exporter::new("/nonexistent/fwctl", RuleMetrics::On, Arc::new(Daemon::new())));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let bound = http::bind(&listen.parse().unwrap(), web).await.unwrap().with_limits(limits).with_log({
            let log = Arc::clone(&log);
            Arc::new(move |line: &str| log.lock().unwrap().push(line.to_owned()))
        });
        let listen = bound.listens_on().clone();
        let (end, ended) = oneshot::channel();
        let serving = bound.serve(Arc::clone(&exporter), async {
            let _ = ended.await;
        });
        let task = tokio::spawn(serving);
        Self { listen, exporter, log, end: Some(end), task }
    }

    async fn connect(&self) -> TcpStream {
        let Listen::Tcp(address) = &self.listen else { panic!("it listens on TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    /// The answer to a request without headers but these, on a connection of its own.
    async fn ask(&self, request: &str, headers: &str) -> Answer {
        ask(self.connect().await, request, headers).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "").await
    }

    /// Ends it, and gives it the time that it has for that.
    async fn end(mut self) -> Vec<String> {
        self.end.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, &mut self.task).await.unwrap().unwrap();
        self.log.lock().unwrap().clone()
    }

    /// A counter of its own.
    fn count(&self, series: &str) -> u64 {
        let text = self.exporter.render(fw_userspace::metrics::Format::Text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: String,
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, headers: &str) -> Answer {
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(mut stream: impl AsyncRead + Unpin) -> Answer {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{read:?}, no answer: {text:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
    Answer { code, head: head.to_lowercase(), body: body.to_owned() }
}

/// A directory for the files of a test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fwctl-http-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
