//! Good connections that are begun beside an attack, by the client's and the server's real sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fw_tests::netns::Rig;
use fw_tests::traffic::LiveTcp;

use crate::live::PATIENCE;
use crate::target::{LIVE_PORTS, Target};

/// Below the first repeat of a SYN: a connection is begun at the first attempt or it is not.
const AT_ONCE: Duration = Duration::from_millis(900);
/// When so many came to nothing, the rest tells nothing new.
const ENOUGH: u64 = 50;
/// Between two of them: ports last as long as the longest attack.
const PAUSE: Duration = Duration::from_millis(1);

/// How many were tried, and how many of them came to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    /// Tried.
    pub(crate) tried: u64,
    /// Did not come about, or did not carry a question and its answer.
    pub(crate) failed: u64,
}

impl Begun {
    /// Of them that were good, in per cent.
    pub(crate) fn share(self) -> f64 {
        100.0 * (self.tried - self.failed) as f64 / self.tried.max(1) as f64
    }

    /// The share and whether it is at least what was promised.
    pub(crate) fn judge(self) -> (String, bool) {
        let is_right = self.tried > 0 && self.failed * 1000 <= self.tried;
        (format!("{:.2} % of {}", self.share(), self.tried), is_right)
    }
}

/// Until it is enough.
pub(crate) fn until(target: &Target, over: &AtomicBool) -> Begun {
    let mut begun = Begun::default();
    while !over.load(Ordering::Relaxed) {
        begun.once(target);
        thread::sleep(PAUSE);
    }
    begun
}

/// So many, unless very many fail.
pub(crate) fn some(target: &Target, count: usize) -> Begun {
    let mut begun = Begun::default();
    while begun.tried < count as u64 && begun.failed < ENOUGH {
        begun.once(target);
    }
    begun
}

impl Begun {
    /// Connect, question, answer, close.
    fn once(&mut self, target: &Target) {
        let Rig { client, server, .. } = &target.rig;
        let opened =
            LiveTcp::open_within(client, (client.v4, 0), server, (server.v4, LIVE_PORTS[0]), AT_ONCE);
        let is_good = opened.is_ok_and(|mut live| live.exchange_within(PATIENCE) && live.close().is_ok());
        self.tried += 1;
        self.failed += u64::from(!is_good);
    }
}
