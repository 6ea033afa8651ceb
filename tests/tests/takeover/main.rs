//! The first load on a live host: the TCP connections that its kernel knows go on at once, if the rules allow them. Needs
//! root.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fw_tests::fwctl::{self, Fwctl};
use fw_tests::netns::{BpffsDir, Host, Namespace, Rig, join};
use fw_tests::traffic::{LiveTcp, timeout};
use serde_json::{Value, json};

/// The server filters its own NIC, and nothing is adopted but what the kernel knows.
struct Live {
    rig: Rig,
    bpffs: BpffsDir,
}

const CLIENTS: [&str; 3] = ["10.77.1.0/24", "fd77:1::/64", "fe80::/10"];

impl Live {
    fn new() -> Self {
        Self::on(Rig::direct().unwrap())
    }

    fn on(rig: Rig) -> Self {
        Self { rig, bpffs: BpffsDir::new().unwrap() }
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server.namespace, &self.bpffs).unwrap()
    }

    /// A connection to this port of the server.
    fn inbound(&self, port: u16) -> LiveTcp {
        let Rig { client, server, .. } = &self.rig;
        LiveTcp::open(client, (client.v4, 0), server, (server.v4, port)).unwrap()
    }

    fn listed(&self) -> Vec<Value> {
        self.fwctl().connections(&[]).unwrap()
    }

    fn used(&self) -> u64 {
        self.fwctl().run(["conntrack", "count", "--json"]).unwrap().success().unwrap()["confirmed"]
            .as_u64()
            .unwrap()
    }
}

fn rule(id: &str, port: u16) -> Value {
    json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": CLIENTS })
}

fn rules(ingress: &[Value], egress: &[Value]) -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "ingress": ingress, "egress": egress } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0 }
    })
}

fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

/// A connection whose listener stays.
struct Served {
    client: TcpStream,
    server: TcpStream,
    _listener: TcpListener,
}

impl Served {
    fn open(client: &Host, server: &Host, at: SocketAddr, to: SocketAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(at)).unwrap();
        let stream = client.run(|| TcpStream::connect_timeout(&to, timeout())).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for end in [&stream, &accepted] {
            end.set_read_timeout(Some(timeout())).unwrap();
            end.set_nodelay(true).unwrap();
        }
        Self { client: stream, server: accepted, _listener: listener }
    }

    fn exchange(&mut self) -> bool {
        carries(&mut self.server, &mut self.client) && carries(&mut self.client, &mut self.server)
    }
}

fn carries(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut read = [0; 4];
    from.write_all(b"word").is_ok() && to.read_exact(&mut read).is_ok() && read == *b"word"
}

/// The address of `eth0` that the kernel made.
fn link_local(host: &Host) -> Ipv6Addr {
    let said = host.ip("-json -6 address show dev eth0 scope link").unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let addresses = said[0]["addr_info"].as_array().unwrap().iter();
    let address = addresses.filter_map(|address| address["local"].as_str()).next_back();
    address.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

fn own_connections_in_mode(mode: &str) {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let mut connections = [
        live.inbound(22),
        LiveTcp::open(client, (client.v6, 0), server, (server.v6, 22)).unwrap(),
        LiveTcp::open(server, (server.v4, 0), client, (client.v4, 443)).unwrap(),
        LiveTcp::open(server, (server.v6, 0), client, (client.v6, 443)).unwrap(),
    ];
    let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let mapped = SocketAddr::new(IpAddr::from(server.v4), 24);
    let scoped = SocketAddrV6::new(link_local(server), 25, 0, client.index("eth0").unwrap());
    let mut served = [
        Served::open(client, server, SocketAddr::new(everywhere, 24), mapped),
        Served::open(client, server, SocketAddr::new(everywhere, 25), scoped.into()),
    ];
    let ingress = [rule("ssh", 22), rule("mapped", 24), rule("link-local", 25)];
    let mut rules = rules(&ingress, &[rule("https", 443)]);
    rules["interfaces"]["server"]["mode"] = json!(mode);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(6), &json!(0)), "{report}");

    let listed = live.listed();
    for (local_port, remote_port, opened_by, rule, count) in [
        (Some(22), None, "remote", "ssh", 2),
        (None, Some(443), "local", "https", 2),
        (Some(24), None, "remote", "mapped", 1),
        (Some(25), None, "remote", "link-local", 1),
    ] {
        let is_meant = |row: &&Value| {
            (local_port.is_none() || row["local_port"].as_u64() == local_port)
                && (remote_port.is_none() || row["remote_port"].as_u64() == remote_port)
                && (&row["state"], &row["class"]) == (&json!("established"), &json!("confirmed"))
                && (&row["opened_by"], &row["rule"]["rule"]) == (&json!(opened_by), &json!(rule))
                && (&row["packets"], &row["bytes"]) == (&json!(0), &json!(0))
        };
        assert_eq!(listed.iter().filter(is_meant).count(), count, "{rule}: {listed:?}");
    }
    // Whoever speaks first.
    for (number, connection) in connections.iter_mut().enumerate() {
        assert!(connection.exchange_from_server() && connection.exchange(), "connection {number}");
    }
    for (number, connection) in served.iter_mut().enumerate() {
        assert!(connection.exchange(), "served {number}");
    }
    let stats = live.fwctl().stats().unwrap();
    assert_eq!((stats.packets("allow", "adopted"), stats.verdict("deny")), (0, 0), "{}", stats.0);
    assert!(stats.packets("allow", "established") >= 24, "{}", stats.0);
    // Their sequence numbers were learnt from what they sent since.
    for connection in connections {
        connection.close().unwrap();
    }
    drop(served);
    let listed = live.listed();
    assert!(listed.iter().all(|row| row["state"] == "closed"), "{listed:?}");
}

#[test]
fn own_connections_of_both_families_and_directions_go_on_at_tc() {
    own_connections_in_mode("tc");
}

#[test]
fn own_connections_of_both_families_and_directions_go_on_at_xdp() {
    own_connections_in_mode("xdp");
}

#[test]
fn what_either_layer_drops_is_cut_and_named() {
    // Traffic within a subnet crosses no network ACL.
    let live = Live::on(Rig::routed().unwrap());
    let (mut ssh, mut telnet) = (live.inbound(22), live.inbound(23));
    let mut with_acl = rules(&[rule("ssh", 22), rule("telnet", 23)], &[]);
    let entry = |number: u16, protocol: &str, action: &str, ports: Value| {
        let mut entry = json!({ "rule_number": number, "protocol": protocol, "action": action, "cidr_block": "0.0.0.0/0" });
        entry.as_object_mut().unwrap().extend(ports.as_object().unwrap().clone());
        entry
    };
    let everything = entry(100, "all", "allow", json!({}));
    with_acl["network_acls"] = json!({ "acl": {
        "ingress": [everything],
        // What the server sends from port 23 goes to the client's port.
        "egress": [
            entry(90, "tcp", "deny", json!({ "from_port": telnet.client_address().unwrap().port(),
                                             "to_port": telnet.client_address().unwrap().port() })),
            everything
        ]
    } });
    with_acl["subnets"] = json!({ "subnet": { "cidr_blocks": ["10.77.2.0/24"], "network_acl": "acl" } });
    with_acl["interfaces"]["server"]["subnet"] = json!("subnet");
    with_acl["interfaces"]["server"]["addresses"] = json!([live.rig.server.v4.to_string()]);
    let report = live.fwctl().load(&with_acl).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    let named = format!(
        "the rules do not allow 1 established connection of this host: {}:23 with {}",
        live.rig.server.v4,
        telnet.client_address().unwrap()
    );
    assert!(notes(&report).contains(&named), "{report}");
    assert!(ssh.exchange_from_server() && ssh.exchange());
    assert!(!telnet.exchange(), "the network ACL denies what the server sends");

    let other = Live::new();
    let mut foreign = other.inbound(23);
    let report = other.fwctl().load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(notes(&report).contains(":23 with"), "{report}");
    assert!(!foreign.exchange(), "no group rule allows it");
    assert!(other.listed().is_empty());
}

#[test]
fn what_one_side_has_closed_is_half_closed() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    let at = SocketAddr::new(IpAddr::from(server.v4), 22);
    let mut by_remote = Served::open(client, server, at, at);
    let at = SocketAddr::new(IpAddr::from(server.v4), 23);
    let mut by_local = Served::open(client, server, at, at);
    by_remote.client.shutdown(Shutdown::Write).unwrap();
    by_local.server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(by_remote.server.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(by_local.client.read(&mut [0; 4]).unwrap(), 0);
    let report = live.fwctl().load(&rules(&[rule("ssh", 22), rule("telnet", 23)], &[])).unwrap();
    assert_eq!(report["taken_over"], 2, "{report}");
    let states = || live.listed().iter().map(|row| row["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(), ["half_closed", "half_closed"]);
    assert!(live.listed().iter().all(|row| row["expires_s"].as_u64() <= Some(120)));
    assert!(carries(&mut by_remote.server, &mut by_remote.client));
    assert!(carries(&mut by_local.client, &mut by_local.server));
    by_remote.server.shutdown(Shutdown::Write).unwrap();
    by_local.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(by_remote.client.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(by_local.server.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(states(), ["closed", "closed"]);
}

#[test]
fn an_open_rule_needs_no_entry() {
    let live = Live::new();
    let mut connection = live.inbound(22);
    let everything = json!({ "id": "all", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let everything = std::slice::from_ref(&everything);
    let mut rules = rules(everything, everything);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["notes"]), (&json!(0), &json!([])), "{report}");
    assert!(connection.exchange_from_server() && live.listed().is_empty());
    // Nor does a device that only a network ACL filters.
    live.fwctl().run(["unload"]).unwrap();
    rules["interfaces"]["server"]["security_groups"] = json!([]);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["notes"]), (&json!(0), &json!([])), "{report}");
}

/// A router has no socket for what it forwards, so only the window takes it over.
#[test]
fn a_forwarded_connection_has_the_window_alone() {
    for window_s in [0, 120] {
        let (rig, bpffs) = (Rig::routed().unwrap(), BpffsDir::new().unwrap());
        let (client, server) = (&rig.client, &rig.server);
        let mut forwarded = LiveTcp::open(client, (client.v4, 0), server, (server.v4, 22)).unwrap();
        let to_servers = json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.77.2.0/24"] });
        let mut rules = rules(&[], &[to_servers]);
        rules["interfaces"]["server"]["device"] = json!("server0");
        rules["settings"]["adopt_seconds"] = json!(window_s);
        let router = rig.router.as_ref().unwrap();
        let report = Fwctl::new(router, &bpffs).unwrap().load(&rules).unwrap();
        assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(0), &json!(window_s)), "{report}");
        assert_eq!(forwarded.exchange(), window_s > 0, "with adopt_seconds {window_s}");
    }
}

/// All rigs have the same addresses, and the kernel has the sockets of all namespaces in one table.
#[test]
fn sockets_of_another_namespace_are_none_of_ours() {
    let (live, other) = (Live::new(), Live::new());
    let _foreign = other.inbound(22);
    let report = live.fwctl().load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
}

#[test]
fn a_reload_takes_over_nothing_and_a_further_device_what_it_has() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    join(client, "eth1", server, "eth1").unwrap();
    client.address("eth1", "10.77.3.2/24").unwrap();
    server.address("eth1", "10.77.3.3/24").unwrap();
    let other = |port| {
        let to: SocketAddr = format!("10.77.3.3:{port}").parse().unwrap();
        Served::open(client, server, to, to)
    };
    let (mut ssh, mut telnet) = (live.inbound(22), live.inbound(23));
    let mut on_other = other(26);
    let fwctl = live.fwctl();
    let report = fwctl.load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");

    let wide = json!({ "id": "other", "protocol": "tcp", "from_port": 26, "to_port": 26, "cidr_blocks": ["10.77.3.0/24"] });
    let report = fwctl.load(&rules(&[rule("ssh", 22), rule("telnet", 23), wide], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(ssh.exchange() && !telnet.exchange(), "it was cut by the rules before");

    let attached =
        fwctl.run(["attach", "eth1", "--interface", "server", "--json"]).unwrap().success().unwrap();
    assert_eq!(attached["taken_over"], 1, "{attached}");
    assert!(on_other.exchange() && ssh.exchange());
    assert_eq!(live.used(), 2);
    // What the table has of a device that was let alone meanwhile does not keep it from beginning anew.
    fwctl.run(["detach", "eth1"]).unwrap();
    let again = fwctl.run(["attach", "eth1", "--interface", "server"]).unwrap();
    let said = "1 established connection of this host was taken over\n";
    assert!(again.code() == 0 && again.stdout.contains(said), "{}", again.said());
    assert!(on_other.exchange() && live.used() == 2);
}

/// Rules that were not confirmed in time filter nothing any more; what comes after them is a first load.
#[test]
fn after_rules_that_were_not_confirmed_the_next_are_the_first() {
    let live = Live::new();
    let fwctl = live.fwctl();
    fwctl.load_with(&rules(&[], &[]), &["--confirm", "1"]).unwrap();
    thread::sleep(Duration::from_millis(1200));
    let mut session = live.inbound(22);
    let report = fwctl.load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    assert!(session.exchange_from_server());
}

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
    let said = "full: 140 established connections of this host that the rules allow were not taken over; raise \
                \\\"conntrack_max\\\", now 1024";
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

/// Not a connection: a device that faces an instance carries what the instance's kernel knows, not this one.
#[test]
fn a_device_that_faces_an_instance_has_none_of_our_sockets() {
    let (rig, bpffs) = (Rig::routed().unwrap(), BpffsDir::new().unwrap());
    let router: &Namespace = rig.router.as_ref().unwrap();
    let own = LiveTcp::open(
        &rig.server,
        (rig.server.v4, 0),
        router,
        ("10.77.2.1".parse::<std::net::Ipv4Addr>().unwrap(), 22),
    );
    let mut own = own.unwrap();
    let mut rules = rules(
        &[],
        &[json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22,
                                         "cidr_blocks": ["10.77.2.0/24"] })],
    );
    rules["interfaces"]["server"]["device"] = json!("server0");
    rules["interfaces"]["server"]["faces"] = json!("instance");
    let report = Fwctl::new(router, &bpffs).unwrap().load(&rules).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(!own.exchange(), "nor is there a window");
}
