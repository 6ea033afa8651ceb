//! What is asked for and what is answered, over TCP and a Unix socket.

use std::os::unix::fs::PermissionsExt;

use fw_userspace::serve::http::{self, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Scratch, Served, answer, ask};

#[tokio::test]
async fn paths_and_methods() {
    let served = Served::new(Limits::default()).await;
    let metrics = served.get("/metrics").await;
    assert_eq!(metrics.code, 200);
    assert!(
        metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.contains("\nfwctl_build_info{version=\""), "{}", metrics.body);
    assert!(metrics.body.contains("# TYPE process_cpu_seconds_total counter"), "{}", metrics.body);

    let open =
        served.ask("GET /metrics?x=y", "Accept: application/openmetrics-text; version=1.0.0\r\n").await;
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE fwctl_build info"), "{}", open.body);

    // Nothing is loaded.
    let health = served.get("/healthz").await;
    assert_eq!(health.code, 503);
    assert!(!health.body.is_empty());

    let page = served.get("/").await;
    assert!(page.code == 200 && page.body.contains("/metrics") && page.body.contains("/healthz"));
    assert_eq!(served.get("/metrics/").await.code, 404);
    assert_eq!(served.get("/favicon.ico").await.code, 404);
    let post = served.ask("POST /metrics", "Content-Length: 0\r\n").await;
    assert!(post.code == 405 && post.head.contains("allow: get, head"), "{post:?}");
    let head = served.ask("HEAD /metrics", "").await;
    assert!(head.code == 200 && head.body.is_empty() && head.head.contains("content-length: "), "{head:?}");
    // The scrape that says so is not answered yet.
    assert_eq!(served.count("fwctl_http_requests_total{code=\"200\"}"), 4);
    assert_eq!(served.count("fwctl_http_requests_total{code=\"404\"}"), 2);
    served.end().await;
}

#[tokio::test]
async fn a_connection_may_be_used_again() {
    let served = Served::new(Limits::default()).await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200 OK"));
    }
    // An idle one holds up no end.
    let start = std::time::Instant::now();
    served.end().await;
    assert!(start.elapsed() < std::time::Duration::from_millis(900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn scrapes_at_the_same_time_are_all_answered() {
    let served = Served::new(Limits::default()).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    for stream in streams {
        let answer = answer(stream).await;
        assert!(answer.code == 200 && answer.body.contains("fwctl_up"), "{answer:?}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_unix_socket_comes_and_goes_and_takes_no_place_that_is_taken() {
    let scratch = Scratch::new();
    let path = scratch.0.join("metrics.sock");
    let listen = format!("unix:{}", path.display());
    let served = Served::on(&listen, None, Limits::default()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let metrics = ask(UnixStream::connect(&path).await.unwrap(), "GET /metrics", "").await;
    assert_eq!(metrics.code, 200);

    let error = |listen: String| async move {
        http::bind(&listen.parse().unwrap(), None).await.err().unwrap().to_string()
    };
    let said = error(listen.clone()).await;
    assert_eq!(
        said,
        format!("cannot listen on \"{listen}\": another process answers there; choose another with --listen")
    );
    served.end().await;
    assert!(!path.exists());

    // As a killed process leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let served = Served::on(&listen, None, Limits::default()).await;
    assert_eq!(ask(UnixStream::connect(&path).await.unwrap(), "GET /", "").await.code, 200);
    served.end().await;

    let file = scratch.write("file", "dear");
    let said = error(format!("unix:{}", file.display())).await;
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear");
    let said = error(format!("unix:{}/none/metrics.sock", scratch.0.display())).await;
    assert!(said.contains("make its directory first"), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let served = Served::new(Limits::default()).await;
    let error = http::bind(&served.listen, None).await.err().unwrap().to_string();
    let expected = format!(
        "cannot listen on \"{}\": address already in use; another process listens there, choose another with --listen",
        served.listen
    );
    assert_eq!(error, expected);
    let elsewhere = http::bind(&"192.0.2.1:9798".parse().unwrap(), None).await.err().unwrap().to_string();
    assert!(elsewhere.contains("no device of this host has that address"), "{elsewhere}");
    served.end().await;
}
