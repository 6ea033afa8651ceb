//! `ext=hop,dst*3,routing0,dst:9`: a chain of IPv6 extension headers.

use anyhow::{Context, Result, bail, ensure};

use super::super::model::Extension;
use super::value::number;

/// What is understood, for messages.
const FORMS: &str = "hop, dst, routing, routingTYPE, frag, ah, each with *TIMES, /BYTES or :LENGTH behind it";

pub(super) fn chain(word: &str) -> Result<Vec<Extension>> {
    let mut chain = Vec::new();
    for part in word.split(',') {
        chain.extend(headers(part)?);
    }
    Ok(chain)
}

/// One header, or so many alike.
fn headers(part: &str) -> Result<Vec<Extension>> {
    let (part, times) = match part.split_once('*') {
        Some((part, times)) => (part, number(times, "a number of headers")?),
        None => (part, 1),
    };
    ensure!(times <= 64, "\"{part}*{times}\": at most 64");
    let header = if let Some((name, bytes)) = part.split_once('/') {
        let bytes: usize = number(bytes, "a number of bytes")?;
        let fits = bytes.is_multiple_of(8) && (8..=2048).contains(&bytes);
        ensure!(fits, "\"{part}\": a multiple of 8, at most 2048");
        sized(name, bytes, bytes / 8 - 1)?
    } else if let Some((name, length)) = part.split_once(':') {
        let length: u8 = number(length, "the length field of an extension header")?;
        sized(name, 8, length.into())?
    } else {
        plain(part)?
    };
    Ok(vec![header; times])
}

fn plain(name: &str) -> Result<Extension> {
    Ok(match name {
        "hop" => Extension::HopByHop,
        "dst" => Extension::Destination,
        // An experimental type (RFC 4727): receivers skip it when no segments are left (RFC 8200, 4.4).
        "routing" => Extension::Routing { kind: 253, segments_left: 0 },
        "frag" => Extension::Fragment,
        "ah" => Extension::Authentication,
        _ => match name.strip_prefix("routing").and_then(|kind| kind.parse().ok()) {
            Some(kind) => Extension::Routing { kind, segments_left: 0 },
            None => bail!("\"{name}\" is no extension header: {FORMS}"),
        },
    })
}

/// A header of so many bytes whose length field says `length`, which may be a lie.
fn sized(name: &str, bytes: usize, length: usize) -> Result<Extension> {
    let (protocol, kind) = match plain(name)? {
        // Options begin with padding as long as what follows it in the first eight bytes.
        Extension::HopByHop => (0, 1),
        Extension::Destination => (60, 1),
        Extension::Routing { kind, .. } => (43, kind),
        Extension::Authentication => (51, 0),
        Extension::Fragment | Extension::Other { .. } => {
            bail!("\"{name}\" has no length of its own: hop, dst, routing and ah have")
        }
    };
    let mut header = vec![0; bytes];
    header[1] = u8::try_from(length).context("the length field has eight bits")?;
    header[2] = kind;
    // PadN takes 255 bytes at most; what follows is Pad1.
    header[3] = if kind == 1 { u8::try_from(bytes - 4).unwrap_or(u8::MAX) } else { 0 };
    Ok(Extension::Other { protocol, bytes: header })
}
