//! `fwctl top` on a pseudo terminal, beside real traffic. Needs root.

use std::net::UdpSocket;
use std::ops::Deref;
use std::process::Stdio;
use std::time::Duration;

use fw_tests::filtered::Filtered;
use fw_tests::pty::Pty;
use fw_tests::traffic::ping;
use serde_json::json;

struct Watched(Filtered);

impl Deref for Watched {
    type Target = Filtered;

    fn deref(&self) -> &Filtered {
        &self.0
    }
}

impl Watched {
    fn new() -> Self {
        let rules = json!({
            "version": 1,
            "security_groups": { "web": { "egress": [], "ingress": [
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": ["0.0.0.0/0"] } ] } },
            "interfaces": { "eni-web": { "device": "eth0", "security_groups": ["web"] } },
            "settings": { "conntrack_max": 4096, "adopt_seconds": 0 }
        });
        Self(Filtered::new(&rules))
    }

    fn top(&self, colour: bool, columns: u16, lines: u16) -> Pty {
        let mut command = self.fwctl().command(["top"]);
        if colour {
            command.env_remove("NO_COLOR");
        }
        Pty::start(command, columns, lines).unwrap()
    }

    /// Datagrams that no rule lets in.
    fn knock(&self, count: u32) {
        self.rig.client.run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 4000)).unwrap();
            for _ in 0..count {
                socket.send_to(b"knock", (self.rig.server.v4, 9)).unwrap();
            }
        });
    }
}

/// It ends so, and the terminal is as it was.
fn ends(mut top: Pty, before: [u32; 4], how: &str) {
    let status = top.end().unwrap();
    assert_eq!(status.code(), Some(0), "{how}: {status}: {}", String::from_utf8_lossy(&top.bytes));
    assert_eq!(top.is_taken(), (false, false), "{how}: the screen and the cursor are not given back");
    assert_eq!(top.modes().unwrap(), before, "{how}: keys are not treated as before");
    let left = top.until(|_| true).unwrap();
    assert_eq!(left.trim(), "", "{how}: something is left");
}

#[test]
fn eighty_columns_show_what_happens_and_quitting_gives_the_terminal_back() {
    let watched = Watched::new();
    let cooked = {
        let idle = watched.fwctl().command(["check", "-"]);
        let mut pty = Pty::start(idle, 80, 24).unwrap();
        pty.press("\u{4}").unwrap();
        pty.end().unwrap();
        pty.modes().unwrap()
    };
    let mut top = watched.top(false, 80, 24);
    top.until(|picture| picture.contains("q quit")).unwrap();
    assert_eq!(top.is_taken(), (true, true));
    assert_ne!(top.modes().unwrap(), cooked);
    let mut picture = String::new();
    for _ in 0..40 {
        ping(&watched.rig.client, watched.rig.server.v4).unwrap();
        watched.knock(3);
        picture = top.after(Duration::from_millis(250));
        let row = picture.lines().find(|line| line.contains("no_group_rule")).unwrap_or_default();
        // There are rates when a look follows another.
        let has_rate = row.split_whitespace().any(|word| word.contains('.'));
        if has_rate && row.contains("web ingress ping") && picture.contains("udp 10.77.1.2:4000 ->") {
            break;
        }
    }
    println!("{picture}");
    for part in [
        "eni-web",
        "web ingress ping",
        "no_group_rule",
        "udp 10.77.1.2:4000 -> 10.77.1.3:9",
        "DROPPED FOR",
        "of 4096",
        "RECENT DROPS",
    ] {
        assert!(picture.contains(part), "{part:?} is not in\n{picture}");
    }
    assert!(!top.has_colour(), "{picture}");
    top.press("?").unwrap();
    top.until(|picture| picture.contains("Shift-Tab")).unwrap();
    top.press("?p").unwrap();
    top.until(|picture| picture.contains("PAUSED") && picture.contains("RECENT DROPS")).unwrap();
    top.press("q").unwrap();
    ends(top, cooked, "q");

    for (how, keys, signal) in [("Ctrl-C", "\u{3}", 0), ("Esc", "\u{1b}", 0)]
        .into_iter()
        .chain([("SIGINT", "", libc::SIGINT), ("SIGTERM", "", libc::SIGTERM)])
    {
        let mut top = watched.top(true, 80, 24);
        top.until(|picture| picture.contains("q quit")).unwrap();
        if signal == 0 {
            top.press(keys).unwrap();
        } else {
            top.signal(signal).unwrap();
        }
        ends(top, cooked, how);
    }
}

#[test]
fn colour_where_it_is_wanted_and_a_line_where_there_is_no_room() {
    let watched = Watched::new();
    let mut top = watched.top(true, 80, 24);
    top.until(|picture| picture.contains("connections [")).unwrap();
    watched.knock(10);
    top.until(|picture| picture.contains("no_group_rule")).unwrap();
    ping(&watched.rig.client, watched.rig.server.v4).unwrap();
    top.until(|picture| picture.contains("web ingress ping")).unwrap();
    assert!(top.has_colour());
    drop(top);

    let mut small = watched.top(true, 20, 5);
    let picture = small.until(|picture| picture.contains("needs")).unwrap();
    assert_eq!(picture.trim(), "needs 60x16");
    small.press("q").unwrap();
    assert_eq!(small.end().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_shown_is_said_on_a_terminal_that_is_clean() {
    let watched = Watched::new();
    let pipe = watched.fwctl().run(["top"]).unwrap();
    assert_eq!(pipe.code(), 2, "{}", pipe.said());
    assert!(pipe.stderr.contains("fwctl stats --watch") && pipe.stdout.is_empty(), "{}", pipe.said());

    // Who listens already has the events; the rest is shown.
    let mut command = watched.fwctl().command(["monitor", "--drops"]);
    let monitor = fw_tests::netns::Process::start(command.stdout(Stdio::null())).unwrap();
    let mut top = watched.top(false, 100, 24);
    let deaf =
        top.until(|picture| picture.contains("none to be heard") || picture.contains("RULE OR REASON"));
    assert!(deaf.is_ok());
    top.until(|picture| picture.contains("reads the events already")).unwrap();
    drop(monitor);
    top.until(|picture| picture.contains("RULE OR REASON")).unwrap();

    assert!(watched.fwctl().run(["unload"]).unwrap().status.success());
    assert_eq!(top.end().unwrap().code(), Some(1));
    assert_eq!(top.is_taken(), (false, false));
    let said = top.until(|_| true).unwrap();
    assert!(said.contains("error: nothing is loaded under"), "{said}");
    let mut nothing = watched.top(false, 80, 24);
    assert_eq!(nothing.end().unwrap().code(), Some(1));
    assert!(!String::from_utf8_lossy(&nothing.bytes).contains("\u{1b}["), "no screen was taken");
}
