//! What keeps a load from taking over all that there is, and what that costs.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fw_tests::fwctl::{self, Fwctl};
use fw_tests::netns::{Rig, join};
use fw_tests::traffic::timeout;
use serde_json::json;

use super::{Live, notes, rule, rules};

/// So many connections to port 22, both ends in our hands.
fn many(rig: &Rig, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the memory that it is given.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    assert!(
        limit.rlim_max as usize > 2 * count,
        "two files for each connection, and {} are allowed",
        limit.rlim_max
    );
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads the memory that it is given.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let to = SocketAddr::new(IpAddr::from(rig.server.v4), 22);
    let listener = rig.server.run(|| TcpListener::bind(to)).unwrap();
    rig.client.run(|| {
        (0..count)
            .map(|_| {
                let stream = TcpStream::connect(to).unwrap();
                (stream, listener.accept().unwrap().0)
            })
            .collect()
    })
}

#[test]
fn a_table_that_is_too_small_takes_what_fits() {
    let live = Live::new();
    let mut connections = many(&live.rig, 1100);
    let mut rules = rules(&[rule("ssh", 22)], &[]);
    rules["settings"]["conntrack_max"] = json!(1024);
    let report = live.fwctl().load(&rules).unwrap();
    // 64 are kept for rules with `reserved`.
    assert_eq!(report["taken_over"], 960, "{report}");
    let said = "full: 140 connections that the rules allow were not taken over; raise \\\"conntrack_max\\\", now 1024";
    assert!(notes(&report).contains(said), "{report}");
    assert_eq!(live.used(), 960);
    let going_on = |connections: &mut Vec<(TcpStream, TcpStream)>| {
        let sent = connections.iter_mut().filter_map(|(client, _)| client.write_all(b"word").ok()).count();
        assert_eq!(sent, 1100);
        thread::sleep(timeout());
        connections.iter_mut().filter(|(_, server)| has_data(server)).count()
    };
    assert_eq!(going_on(&mut connections), 960);

    // The administrators' rule has the rest.
    live.fwctl().run(["unload"]).unwrap();
    rules["security_groups"]["sg"]["ingress"][0]["reserved"] = json!(true);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!(report["taken_over"], 1024, "{report}");
    let listed = live.listed();
    assert!(listed.len() == 1024 && listed.iter().all(|row| row["rule"]["rule"] == "ssh"));
}

fn has_data(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.peek(&mut [0; 4]).is_ok_and(|read| read == 4)
}

/// Between the list of sockets and the moment at which the rules are in force connections are established that neither
/// the list nor the rules have seen.
#[test]
fn what_is_established_during_the_load_goes_on() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    // They make that time long.
    let _before = many(&live.rig, 2000);
    let to = SocketAddr::new(IpAddr::from(server.v4), 23);
    let listener = server.run(|| TcpListener::bind(to)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let done = AtomicBool::new(false);
    let (report, mut during) = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            client.run(|| {
                let mut opened = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    // One whose handshake was cut in two may not come about.
                    if let Ok(stream) = TcpStream::connect_timeout(&to, timeout())
                        && let Some(accepted) = accept_in_time(&listener)
                    {
                        opened.push((stream, accepted));
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                opened
            })
        });
        let report = live.fwctl().load(&rules(&[rule("ssh", 22), rule("telnet", 23)], &[]));
        done.store(true, Ordering::Relaxed);
        (report.unwrap(), opening.join().unwrap())
    });
    let taken = report["taken_over"].as_u64().unwrap() - 2000;
    assert!(taken > 100 && during.len() as u64 >= taken, "{taken} of {}", during.len());
    for (client, _) in &mut during {
        client.write_all(b"word").unwrap();
    }
    thread::sleep(Duration::from_secs(1));
    let cut = during.iter().filter(|(_, server)| !has_data(server)).count();
    assert!(cut <= 1, "{cut} of {} are cut, {taken} were taken over", during.len());
}

fn accept_in_time(listener: &TcpListener) -> Option<TcpStream> {
    let end = Instant::now() + timeout();
    loop {
        match listener.accept() {
            Ok((accepted, _)) => return Some(accepted),
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            Err(_) if Instant::now() >= end => return None,
            Err(_) => thread::sleep(Duration::from_micros(100)),
        }
    }
}

/// The kernel's list of sockets is refused, as by a sandbox; a kernel without it answers with another error.
#[test]
fn without_the_list_of_sockets_the_load_goes_on_with_the_window() {
    for (window_s, said) in [(120, "for 120 s"), (0, "they are cut, as \\\"adopt_seconds\\\" is 0")] {
        let live = Live::new();
        let mut ssh = live.inbound(22);
        let mut rules = rules(&[rule("ssh", 22)], &[]);
        rules["settings"]["adopt_seconds"] = json!(window_s);
        let text = serde_json::to_vec(&rules).unwrap();
        let mut command = live.fwctl().command_with(["load", fwctl::RULES, "--json"], &text).unwrap();
        // SAFETY: two system calls, with memory that lives until they are over.
        unsafe { command.pre_exec(refuse_socket_diagnostics) };
        let report = Fwctl::finish(command).unwrap().success().unwrap();
        assert_eq!(report["taken_over"], 0, "{report}");
        let reason = "the kernel does not list its sockets: Operation not permitted (os error 1)";
        assert!(notes(&report).contains(reason) && notes(&report).contains(said), "{report}");
        assert_eq!(ssh.exchange(), window_s > 0);
    }
}

/// Makes `socket(AF_NETLINK, ..., NETLINK_SOCK_DIAG)` fail with EPERM, for this process and its children.
fn refuse_socket_diagnostics() -> std::io::Result<()> {
    const NETLINK_SOCK_DIAG: u32 = 4;
    const SECCOMP_MODE_FILTER: libc::c_ulong = 2;
    // Offsets in `struct seccomp_data`: the number of the call, the low words of its first and third argument.
    let is = |offset: u32, value: u32, otherwise: u8| {
        [
            libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset },
            libc::sock_filter { code: 0x15, jt: 0, jf: otherwise, k: value },
        ]
    };
    let say = |k: u32| [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k }];
    let [a, b] = is(0, libc::SYS_socket as u32, 5);
    let [c, d] = is(16, libc::AF_NETLINK as u32, 3);
    let [e, f] = is(32, NETLINK_SOCK_DIAG, 1);
    let ([refuse], [allow]) =
        (say(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32), say(libc::SECCOMP_RET_ALLOW));
    let mut filter = [a, b, c, d, e, f, refuse, allow];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a flag of this process.
    let no_new_privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and what it points to live until the call is over.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) };
    if no_new_privileges != 0 || set != 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
#[ignore = "a figure, which means something in a release build only"]
fn nearly_ten_thousand_connections_cost_some_ten_ms() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    join(client, "eth1", server, "eth1").unwrap();
    let mut rules = rules(&[rule("ssh", 22)], &[]);
    rules["interfaces"]["server"]["device"] = json!("eth1");
    live.fwctl().load(&rules).unwrap();
    // Another device costs no verification, in whose time this would not be seen.
    let attach = || {
        let done = |arguments: &[&str]| live.fwctl().run(arguments).unwrap().success().unwrap();
        let report = done(&["attach", "eth0", "--interface", "server", "--json"]);
        done(&["detach", "eth0", "--json"]);
        (report["taken_over"].as_u64().unwrap(), report["total_ms"].as_f64().unwrap())
    };
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let without = median((0..9).map(|_| attach().1).collect());
    let _connections = many(&live.rig, 9_900);
    let (taken, times): (Vec<u64>, Vec<f64>) = (0..9).map(|_| attach()).unzip();
    let with = median(times);
    println!("attach in {without:.1} ms, with 9,900 connections in {with:.1} ms");
    assert!(taken.iter().all(|taken| *taken == 9_900), "{taken:?}");
    assert!(with - without < 50.0);
}
