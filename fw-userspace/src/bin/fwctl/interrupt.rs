//! Ctrl-C and SIGTERM, for commands that have something to put back before they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fw_userspace::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether one of them came.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on they do not end the process; what waits in a system call is woken.
    pub(crate) fn catch() -> Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&came))
                .map_err(|error| Error::system(format!("cannot catch signal {signal}: {error}")))?;
        }
        Ok(Self(came))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
