//! Two silent namespaces and a wire between them; the far one filters. Silent, so that every frame that is counted is
//! one of the test's.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace, join};
use fw_tests::traffic::timeout;
use serde_json::Value;

use super::kinds;

/// The namespaces.
pub(crate) struct Wire {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
    bpffs: BpffsDir,
}

/// For what must come, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

impl Wire {
    /// Joined by `eth0`, the far one with 10.20.1.10 and fd20::10 if it is `addressed`.
    pub(crate) fn new(addressed: bool) -> Self {
        let (near, far) = (Namespace::new("near").unwrap(), Namespace::new("far").unwrap());
        for kind in ["all", "default"] {
            near.sysctl(&format!("ipv6/conf/{kind}/disable_ipv6"), "1").unwrap();
        }
        join(&near, "eth0", &far, "eth0").unwrap();
        if addressed {
            address(&far, "eth0");
        }
        Self { near, far, bpffs: BpffsDir::new().unwrap() }
    }

    pub(crate) fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.far, &self.bpffs).unwrap()
    }

    /// Loads rules for the far `eth0`.
    pub(crate) fn load(&self, rules: Value, mode: &str) {
        self.fwctl().load(&kinds::at(rules, "eth0", mode)).unwrap();
    }

    /// Waits until so many frames that arrived were counted, and says by which reasons.
    pub(crate) fn counts(&self, total: u64) -> BTreeMap<String, u64> {
        counts(&self.fwctl(), total)
    }
}

/// Gives a device 10.20.1.10 and fd20::10. The kernel makes the latter its own a moment after the command.
pub(crate) fn address(host: &Namespace, device: &str) {
    host.address(device, "10.20.1.10/24").unwrap();
    host.address(device, "fd20::10/64").unwrap();
    let end = Instant::now() + PATIENCE;
    while !host.ip("-6 route get fd20::10").is_ok_and(|route| route.starts_with("local")) {
        assert!(Instant::now() < end, "fd20::10 is not the host's own");
    }
}

/// What arrived by reason, once it is so many packets; what is late makes it more than that, and shows.
pub(crate) fn counts(fwctl: &Fwctl<'_>, total: u64) -> BTreeMap<String, u64> {
    let end = Instant::now() + PATIENCE;
    loop {
        let stats = fwctl.stats().unwrap();
        let rows = stats.0["reasons"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["direction"] == "ingress");
        let mut counts = BTreeMap::new();
        for row in rows {
            // Two layers have a reason of this name; only one of them is at work here.
            *counts.entry(row["reason"].as_str().unwrap().to_owned()).or_default() +=
                row["packets"].as_u64().unwrap();
        }
        counts.retain(|_, packets| *packets != 0);
        if counts.values().sum::<u64>() >= total {
            return counts;
        }
        assert!(Instant::now() < end, "{total} packets should be counted, and are {counts:?}");
    }
}

/// A UDP socket of a namespace that can be asked what came.
pub(crate) struct Receiver(UdpSocket);

impl Receiver {
    pub(crate) fn new(namespace: &Namespace, at: &str) -> Self {
        let socket = namespace.run(|| UdpSocket::bind(at)).unwrap();
        socket.set_read_timeout(Some(timeout())).unwrap();
        Self(socket)
    }

    /// Whether this very datagram comes in time.
    pub(crate) fn gets(&self, payload: &[u8]) -> bool {
        let mut room = vec![0; 1 << 16];
        let end = Instant::now() + timeout();
        while Instant::now() < end {
            match self.0.recv(&mut room) {
                Ok(len) if room[..len] == *payload => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// All that is there, without waiting.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        self.0.set_nonblocking(true).unwrap();
        let mut room = vec![0; 1 << 16];
        let next = || self.0.recv(&mut room).ok().map(|len| room[..len].to_vec());
        let all = std::iter::from_fn(next).collect();
        self.0.set_nonblocking(false).unwrap();
        all
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.0
    }
}

/// What these sockets got, sorted, once it is so much, or when nothing more can come.
pub(crate) fn gathered(receivers: &[Receiver], wanted: usize) -> Vec<Vec<u8>> {
    let end = Instant::now() + timeout();
    let mut got: Vec<Vec<u8>> = Vec::new();
    loop {
        got.extend(receivers.iter().flat_map(Receiver::all));
        if got.len() >= wanted || Instant::now() > end {
            got.sort();
            return got;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Time for what a hook let through to reach its socket: the kernel brings it there in the same breath.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}
