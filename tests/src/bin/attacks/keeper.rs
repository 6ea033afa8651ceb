//! Connections kept by a thread with a table of files of its own: both ends of 10,000 are more files than a process may have
//! open on many machines, and than root may ask for in some containers.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, ensure};
use fw_tests::netns::Rig;
use fw_tests::traffic::{LiveTcp, talk};

use crate::live::{Ends, PATIENCE};
use crate::target::{LIVE_PORTS, Target};

/// Connections of one thread: far below any limit.
pub(crate) const MOST: usize = 2500;

/// What is asked of it.
enum Order {
    /// Both ends of all speak: which were heard.
    Talk(Sender<Vec<bool>>),
    /// Those with these numbers are opened anew.
    Replace(Vec<usize>, Sender<Result<Vec<Ends>>>),
}

/// The thread; its connections are closed when the value goes.
pub(crate) struct Keeper {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Opens connections with these numbers.
    pub(crate) fn open(target: &Arc<Target>, numbers: Range<usize>) -> Result<(Self, Vec<Ends>)> {
        let (target, (orders, received), (tell, told)) = (Arc::clone(target), channel(), channel());
        let thread = thread::spawn(move || match begin(&target, numbers.clone()) {
            Ok((mut connections, ends)) => {
                let _ = tell.send(Ok(ends));
                keep(&target, &mut connections, numbers.start, &received);
            }
            Err(error) => drop(tell.send(Err(error))),
        });
        let keeper = Self { orders: Some(orders), thread: Some(thread) };
        let ends = told.recv().context("the thread that keeps connections panicked")??;
        Ok((keeper, ends))
    }

    /// All speak; the answer is read from what is returned, so that other keepers' speak meanwhile.
    pub(crate) fn talk(&self) -> Result<Receiver<Vec<bool>>> {
        let (tell, told) = channel();
        self.order(Order::Talk(tell))?;
        Ok(told)
    }

    /// Opens some anew, by their numbers.
    pub(crate) fn replace(&self, numbers: Vec<usize>) -> Result<Vec<Ends>> {
        let (tell, told) = channel();
        self.order(Order::Replace(numbers, tell))?;
        told.recv().context("the thread that keeps connections panicked")?
    }

    fn order(&self, order: Order) -> Result<()> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        ensure!(sent, "the thread that keeps connections is gone");
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// From here on this thread's files are its own: what it opens it must close, and nobody else can.
fn begin(target: &Target, numbers: Range<usize>) -> Result<(Vec<LiveTcp>, Vec<Ends>)> {
    // SAFETY: takes no memory. Values that hold files and that others dropped or made meanwhile are none of this thread's:
    // of theirs it uses the namespaces alone, which outlive it.
    let done = unsafe { libc::unshare(libc::CLONE_FILES) };
    ensure!(done == 0, "a thread cannot have files of its own: {}", io::Error::last_os_error());
    let opened: Result<Vec<(LiveTcp, Ends)>> = numbers.map(|number| open(target, number)).collect();
    Ok(opened?.into_iter().unzip())
}

fn keep(target: &Target, connections: &mut [LiveTcp], first: usize, orders: &Receiver<Order>) {
    for order in orders {
        match order {
            Order::Talk(tell) => drop(tell.send(talk(connections, PATIENCE))),
            Order::Replace(numbers, tell) => {
                let replace = |number: usize| {
                    let (connection, ends) = open(target, number)?;
                    connections[number - first] = connection;
                    Ok(ends)
                };
                let _ = tell.send(numbers.into_iter().map(replace).collect());
            }
        }
    }
}

/// Of four, one of each family and opener.
fn open(target: &Target, number: usize) -> Result<(LiveTcp, Ends)> {
    let Rig { client, server, .. } = &target.rig;
    let [from, to]: [IpAddr; 2] = if number & 1 == 0 {
        [client.v4.into(), server.v4.into()]
    } else {
        [client.v6.into(), server.v6.into()]
    };
    let is_ours = number & 2 != 0;
    let opened = if is_ours {
        LiveTcp::open_within(server, (to, 0), client, (from, LIVE_PORTS[1]), PATIENCE)
    } else {
        LiveTcp::open_within(client, (from, 0), server, (to, LIVE_PORTS[0]), PATIENCE)
    };
    let connection = opened.with_context(|| format!("connection {number} of the rig"))?;
    let (opener, other) = (connection.client_address()?, connection.server_address()?);
    let (local, remote) = if is_ours { (opener, other) } else { (other, opener) };
    Ok((connection, Ends { local, remote }))
}
