//! Where Prometheus asks: `/metrics`, `/healthz` and a page that names both, over TCP or a Unix socket.
//!
//! Whoever reaches the listener can neither hold it up nor fill memory with it. Connections are few, and when there are too
//! many the one that has moved nothing for the longest gives way; requests, answers and silence have their time; one
//! scrape is rendered at a time, however many ask. All that a peer may cause is counted, and said at most every few
//! seconds.

mod allowance;
mod answer;
mod auth;
mod listener;
mod notes;
mod peers;
mod scraper;
mod tls;
mod watched;
mod web_config;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::error::Result;
use crate::metrics::{Closed, Exporter};

pub use listener::Listen;
use listener::{Accepted, Listener};
use notes::Notes;
use peers::{Peer, Peers};
use scraper::Scraper;
use watched::Watched;
pub use web_config::WebConfig;

/// Who is told what goes wrong with a connection, a line at a time.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What one peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// From the first byte of a request to the last of its headers; the handshake of TLS as well.
    pub request: Duration,
    /// Without a request.
    pub idle: Duration,
    /// While an answer waits and none of it is taken.
    pub stalled: Duration,
    /// Until all of an answer is taken.
    pub answer: Duration,
    /// Until an answer is there, the time that others wait for theirs included.
    pub render: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: Duration::from_secs(10),
            // Scrapes are seldom further apart.
            idle: Duration::from_secs(120),
            stalled: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            render: Duration::from_secs(10),
        }
    }
}

/// Headers of a request, and the whole of them.
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;
/// When the process has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(200);
/// For answers that are under way when we end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often connections are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A listener that has its address.
pub struct Bound {
    listener: Listener,
    web: Option<WebConfig>,
    limits: Limits,
    log: Log,
}

/// Takes the address. An error says what is in the way.
pub async fn bind(listen: &Listen, web: Option<WebConfig>) -> Result<Bound> {
    let listener = Listener::bind(listen).await?;
    Ok(Bound { listener, web, limits: Limits::default(), log: Arc::new(|line| eprintln!("{line}")) })
}

impl Bound {
    /// With other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Says what goes wrong to somebody else than standard error.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log, ..self }
    }

    /// Where it listens: the port that was given for port 0.
    pub fn listens_on(&self) -> &Listen {
        self.listener.listen()
    }

    /// Answers until `shutdown` is ready; a Unix socket is removed then.
    pub async fn serve(self, exporter: Arc<Exporter>, shutdown: impl Future<Output = ()>) {
        let Self { listener, web, limits, log } = self;
        let server = Arc::new(Server {
            peers: Peers::new(limits, Arc::clone(exporter.daemon())),
            notes: Notes::new(log, Arc::clone(exporter.daemon())),
            scraper: Scraper::new(exporter, limits.render),
            web,
            limits,
        });
        let mut connections = JoinSet::new();
        let mut accept_at = Instant::now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            let accepted = async {
                sleep_until(accept_at).await;
                listener.accept().await
            };
            tokio::select! {
                () = &mut shutdown => break,
                accepted = accepted => match accepted {
                    Ok(accepted) => match server.peers.admit(accepted.name.clone(), accepted.address) {
                        Some(peer) => {
                            connections.spawn(Arc::clone(&server).attend(accepted, peer));
                        }
                        None => server.refuse(accepted),
                    },
                    Err(error) => {
                        accept_at = Instant::now() + BACK_OFF;
                        // It may be that one's descriptor that is missing.
                        server.peers.evict();
                        server.notes.cannot_accept(&error);
                    }
                },
                _ = tick.tick(), if !server.peers.is_empty() => server.peers.cut_overdue(),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(listener);
        server.peers.cut_silent();
        let _ = timeout(LAST_WORDS, async { while connections.join_next().await.is_some() {} }).await;
    }
}

struct Server {
    peers: Arc<Peers>,
    notes: Notes,
    scraper: Scraper,
    web: Option<WebConfig>,
    limits: Limits,
}

impl Server {
    /// One connection, to its end.
    async fn attend(self: Arc<Self>, accepted: Accepted, peer: Arc<Peer>) {
        let Accepted { stream, .. } = accepted;
        let is_cut = tokio::select! {
            () = self.talk(stream, &peer) => None,
            why = peer.is_cut() => Some(why),
        };
        if let Some(why) = is_cut {
            self.notes.closed(peer.name(), why, None);
        }
        self.peers.remove(&peer);
    }

    async fn talk(&self, stream: listener::Stream, peer: &Arc<Peer>) {
        let active = self.web.as_ref().map(|web| web.current(&self.notes));
        let Some(tls) = active.as_ref().and_then(|active| active.tls.clone()) else {
            return self.speak_http(stream, peer).await;
        };
        match timeout(self.limits.request, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak_http(stream, peer).await,
            Ok(Err(error)) => {
                self.notes.closed(
                    peer.name(),
                    Closed::Malformed,
                    Some(&format!("no TLS handshake: {error}")),
                );
            }
            Err(_) => self.notes.closed(peer.name(), Closed::SlowRequest, None),
        }
    }

    async fn speak_http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: &Arc<Peer>) {
        let service = service_fn(|request| {
            peer.asked();
            answer::answer(self, peer, request)
        });
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(peer)));
        let connection = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            // Time is kept in one place: see `peers`.
            .header_read_timeout(None)
            .serve_connection(stream, service);
        let Err(error) = connection.await else { return };
        if error.is_parse() {
            // hyper has answered by itself.
            self.scraper.daemon().answered(if error.is_parse_too_large() { 431 } else { 400 });
            self.notes.closed(peer.name(), Closed::Malformed, Some(&format!("malformed request: {error}")));
        }
        // Everything else is a peer that went away.
    }

    /// There is no room, and nobody who could make some.
    fn refuse(&self, accepted: Accepted) {
        // Without TLS only: there the peer expects something else, and a handshake is work.
        if self.web.as_ref().is_none_or(|web| web.current(&self.notes).tls.is_none()) {
            accepted.stream.try_write(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
            );
            self.scraper.daemon().answered(503);
        }
        self.notes.closed(&accepted.name, Closed::Refused, None);
    }
}
