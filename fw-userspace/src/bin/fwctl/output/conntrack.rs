//! What `conntrack` says. A list is not collected to find the widths of its columns: there may be a million lines.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use fw_userspace::report::{ConnectionCount, ConnectionStatus, Flushed, Holder};

use super::Output;
use super::table::{Table, number, words};
use super::units::{count as counted, plain, share};

/// The names of the columns.
pub(crate) fn heading(output: &mut Output, width: usize) {
    let (dim, end) = if output.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let width = width.max("INTERFACE".len());
    output.format(format_args!(
        "{dim}{:<width$}  {:<6}  {:<21}    {:<21}  {:<12}  {:<6}  {:>7}  {:>7}  {:>8}  {:>9}  {:>12}  RULE{end}\n",
        "INTERFACE", "PROTO", "LOCAL", "REMOTE", "STATE", "OPENER", "AGE", "IDLE", "EXPIRES", "PACKETS", "BYTES",
    ));
}

/// One connection. Its times are seconds.
pub(crate) fn line(output: &mut Output, connection: &ConnectionStatus<'_>, width: usize) {
    let width = width.max("INTERFACE".len());
    let ConnectionStatus { interface, protocol, state, opened_by, age_s, idle_s, expires_s, .. } = connection;
    output.format(format_args!(
        "{:<width$}  {protocol:<6}  {:<21} -> {:<21}  {state:<12}  {opened_by:<6}  {age_s:>7}  {idle_s:>7}  \
         {expires_s:>8}  {:>9}  {:>12}  ",
        plain(interface),
        End::local(connection),
        End::remote(connection),
        connection.packets,
        connection.bytes,
    ));
    match connection.rule {
        Some(rule) => {
            output.format(format_args!("{} {} {}\n", plain(rule.id), rule.direction, plain(rule.rule)))
        }
        None => output.text("-\n"),
    }
}

/// One end of a connection.
enum End {
    Port(SocketAddr),
    /// With the request's type and the identifier.
    Icmp(IpAddr, u8, u16),
    Address(IpAddr),
}

impl End {
    fn local(connection: &ConnectionStatus<'_>) -> Self {
        match connection.local_port {
            Some(port) => Self::Port((connection.local, port).into()),
            None => Self::Address(connection.local),
        }
    }

    fn remote(connection: &ConnectionStatus<'_>) -> Self {
        let ConnectionStatus { remote, remote_port, icmp_type, icmp_identifier, .. } = connection;
        match (remote_port, icmp_type, icmp_identifier) {
            (Some(port), ..) => Self::Port((*remote, *port).into()),
            (None, Some(kind), Some(identifier)) => Self::Icmp(*remote, *kind, *identifier),
            _ => Self::Address(*remote),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // These two pad.
            Self::Port(end) => end.fmt(f),
            Self::Address(end) => end.fmt(f),
            Self::Icmp(end, kind, identifier) => f.pad(&format!("{end},type={kind},id={identifier}")),
        }
    }
}

/// The counts.
pub(crate) fn count(output: &mut Output, count: &ConnectionCount) {
    let ConnectionCount { confirmed, confirmed_limit, half_open, half_open_limit, .. } = count;
    let share_of = |part: u64, limit: u64| format!("{part} of {limit}, {}", share(part, limit));
    output.line(format!("confirmed  {}", share_of(*confirmed, *confirmed_limit)));
    output.line(format!("half-open  {}", share_of(*half_open, *half_open_limit)));
    holders(output, "groups", &["group", "confirmed", "half-open"], &count.groups);
    let columns = &["address", "confirmed", "half-open"];
    holders(output, "remote addresses that hold most", columns, &count.top_addresses);
    holders(output, "rules that admitted most", &["rule", "confirmed", "half-open"], &count.top_rules);
}

fn holders(output: &mut Output, title: &'static str, columns: &'static [&'static str], holders: &[Holder]) {
    let mut table = Table::new(title, columns);
    for Holder { name, confirmed, half_open } in holders {
        table.row([words(name), number(confirmed), number(half_open)]);
    }
    table.print(output);
}

/// What was removed.
pub(crate) fn flushed(output: &mut Output, flushed: &Flushed) {
    output.line(format!("flushed {}", counted(flushed.flushed as usize, "connection")));
    if flushed.rebuilt {
        output.line(
            "the table of connections was damaged: it was made anew, with those that could be found in it",
        );
    }
}
