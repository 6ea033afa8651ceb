//! What systemd is told, if it started us and asks (`Type=notify-reload`, `WatchdogSec=`).

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// How often it wants to hear that we are alive, at least; twice as often is told.
pub(super) fn alive_every() -> Option<Duration> {
    watchdog_enabled().map(|time| time / 2)
}

/// Nobody may be listening, which is no failure.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    let _ = notify(states);
}

/// Began to load rules because a signal asked for it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}
