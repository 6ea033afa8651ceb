//! Those who would hold the listener up.

use std::time::{Duration, Instant};

use fw_userspace::serve::http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Served, answer};

/// Of so many file descriptors, for both ends of a connection are ours.
fn need_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a limit that the call fills.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_cur.max(count.min(limit.rlim_max));
    // SAFETY: reads the same.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    assert!(
        limit.rlim_cur >= count,
        "the test needs {count} file descriptors; `ulimit -Hn` is {}",
        limit.rlim_max
    );
}

async fn is_closed_within(mut stream: TcpStream, time: Duration) -> bool {
    let mut bytes = Vec::new();
    timeout(time, stream.read_to_end(&mut bytes)).await.is_ok()
}

#[tokio::test]
async fn ten_thousand_connections_keep_nobody_from_an_answer() {
    need_descriptors(11_000);
    let served = Served::new(Limits::default()).await;
    let mut held = Vec::new();
    let mut longest = Duration::ZERO;
    for number in 0..10_000 {
        let mut stream = served.connect().await;
        if number % 2 == 0 {
            // Half of them begin a request.
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX-").await.unwrap();
        }
        held.push(stream);
        if number % 1_000 == 999 {
            let start = Instant::now();
            let answer = served.get("/metrics").await;
            longest = longest.max(start.elapsed());
            assert_eq!(answer.code, 200, "with {number} connections");
        }
    }
    println!("longest scrape among 10,000 connections: {longest:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(served.count("fwctl_http_connections") <= 64);
    assert!(served.count("fwctl_http_connections_closed_total{reason=\"evicted\"}") > 9_000);
    let log = served.end().await;
    assert!((1..10).contains(&log.len()), "a line now and then: {log:?}");
    assert!(log[0].contains("too many connections"), "{log:?}");
}

#[tokio::test]
async fn a_request_that_does_not_end_and_an_answer_that_nobody_reads_have_their_time() {
    let limits = Limits {
        request: Duration::from_millis(600),
        idle: Duration::from_millis(1_500),
        stalled: Duration::from_millis(600),
        ..Limits::default()
    };
    let served = Served::new(limits).await;
    let idle = served.connect().await;
    let mut slow = served.connect().await;
    let start = Instant::now();
    let trickle = async {
        // Fewer bytes than a request has, and always one more.
        for byte in b"GET /metrics HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("a byte now and then keeps a connection");
    };
    timeout(PATIENCE, trickle).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(is_closed_within(idle, Duration::from_secs(3)).await);

    // So many answers that no buffer of the kernel takes them, and nobody who reads.
    let mut deaf = served.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let asking = async { while deaf.write_all(request).await.is_ok() {} };
    timeout(PATIENCE, asking).await.expect("it is closed");
    assert_eq!(served.get("/metrics").await.code, 200);
    for reason in ["idle", "slow_request", "slow_reader"] {
        let series = format!("fwctl_http_connections_closed_total{{reason=\"{reason}\"}}");
        assert_eq!(served.count(&series), 1, "{reason}");
    }
    let log = served.end().await;
    assert!(log.iter().any(|line| line.contains("its request took too long")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("took too long to read its answer")), "{log:?}");
}

#[tokio::test]
async fn what_is_no_request_is_told_so_and_said_once() {
    let served = Served::new(Limits::default()).await;
    let sent = |bytes: Vec<u8>| {
        let served = &served;
        async move {
            let mut stream = served.connect().await;
            // It may be refused before all of it is sent.
            let _ = stream.write_all(&bytes).await;
            answer(stream).await.code
        }
    };
    assert_eq!(sent(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()).await, 400);
    assert_eq!(sent(b"hello\r\n\r\n".to_vec()).await, 400);
    assert_eq!(sent(b"GET /metrics HTTP/9.9\r\n\r\n".to_vec()).await, 400);
    assert_eq!(sent(b"GET /metrics HTTP/1.1\r\nA: b\0c\r\n\r\n".to_vec()).await, 400);
    let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(sent(format!("GET /metrics HTTP/1.1\r\n{many}\r\n").into_bytes()).await, 431);
    let large =
        [b"GET /metrics HTTP/1.1\r\nConnection: close\r\nA: ".to_vec(), vec![b'a'; 12 << 10]].concat();
    assert_eq!(sent([large, b"\r\n\r\n".to_vec()].concat()).await, 200, "12 KiB are taken");
    assert_eq!(served.get("/metrics").await.code, 200);
    assert_eq!(served.count("fwctl_http_connections_closed_total{reason=\"malformed\"}"), 5);
    assert_eq!(served.count("fwctl_http_requests_total{code=\"400\"}"), 4);
    let log = served.end().await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("malformed request"), "{log:?}");
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let served = Served::new(Limits::default()).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nA: ").await.unwrap();
    let mut sent = 0usize;
    while stream.write_all(&[b'a'; 4096]).await.is_ok() {
        sent += 4096;
        assert!(sent < 64 << 20, "{sent} bytes of headers were taken");
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(served.count("fwctl_http_requests_total{code=\"431\"}"), 1);
    assert_eq!(served.get("/").await.code, 200);
    served.end().await;
}
