//! The values of a packet text.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::super::flag;
use super::super::model::{Cut, Fragment, Start};

pub(super) fn number<T: FromStr>(word: &str, what: &str) -> Result<T> {
    word.parse().map_err(|_| anyhow!("\"{word}\" is not {what}"))
}

/// Decimal, or hexadecimal behind 0x.
pub(super) fn word16(word: &str, what: &str) -> Result<u16> {
    let read = match word.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => word.parse(),
    };
    read.map_err(|_| anyhow!("\"{word}\" is not {what}"))
}

pub(super) fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 26) as u8).collect()
}

pub(super) fn flags(word: &str) -> Result<u8> {
    if word == "none" {
        return Ok(0);
    }
    word.split('+').try_fold(0, |flags, name| {
        Ok(flags
            | match name {
                "fin" => flag::FIN,
                "syn" => flag::SYN,
                "rst" => flag::RST,
                "psh" => flag::PSH,
                "ack" => flag::ACK,
                "urg" => flag::URG,
                _ => bail!("\"{name}\" is no TCP flag: syn, ack, fin, rst, psh, urg, joined by +, or none"),
            })
    })
}

pub(super) fn mac(word: &str) -> Result<[u8; 6]> {
    let read = || {
        let bytes: Option<Vec<u8>> = word.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
        bytes?.try_into().ok()
    };
    read().with_context(|| format!("\"{word}\" is not a hardware address such as 02:00:00:00:00:01"))
}

pub(super) fn fragment(word: &str, v4: bool) -> Result<Fragment> {
    let expected = || format!("\"{word}\" is not ID:OFFSET or ID:OFFSET+, the offset in bytes");
    let (id, offset) = word.split_once(':').with_context(expected)?;
    let (offset, more) = offset.strip_suffix('+').map_or((offset, false), |offset| (offset, true));
    let (id, offset_bytes): (u32, u16) =
        (id.parse().ok().with_context(expected)?, offset.parse().ok().with_context(expected)?);
    ensure!(offset_bytes.is_multiple_of(8), "\"{word}\": fragments start at multiples of 8 bytes");
    ensure!(!v4 || id <= 0xffff, "\"{word}\": an IPv4 identification is at most 65535");
    Ok(Fragment { id, offset_bytes, more })
}

pub(super) fn ethertype(word: &str) -> Result<u16> {
    let expected = || format!("\"{word}\" is not an ethertype like 0x88cc");
    let digits = word.strip_prefix("0x").with_context(expected)?;
    u16::from_str_radix(digits, 16).ok().with_context(expected)
}

/// `0x88a8:5`: the type of a tag and its VLAN number, or its whole control information.
pub(super) fn tag(word: &str) -> Result<(u16, u16)> {
    let (kind, tci) = word.split_once(':').with_context(|| format!("\"{word}\" is not TYPE:VLAN"))?;
    Ok((ethertype(kind)?, word16(tci, "a VLAN number")?))
}

pub(super) fn hex(digits: &str) -> Result<Vec<u8>> {
    ensure!(digits.len().is_multiple_of(2), "\"{digits}\" ends in half a byte");
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = String::from_utf8_lossy(pair);
        u8::from_str_radix(&pair, 16).map_err(|_| anyhow!("\"{pair}\" is not a byte in hex"))
    });
    bytes.collect()
}

/// `cut=20`, `cut=ip+20`, `cut=transport+3`.
pub(super) fn cut(word: &str) -> Result<Cut> {
    let (from, bytes) = match word.split_once('+') {
        None => (Start::Frame, word),
        Some(("ip", bytes)) => (Start::Ip, bytes),
        Some(("transport", bytes)) => (Start::Transport, bytes),
        Some((from, _)) => bail!("\"{from}\" is no place to count from: ip or transport"),
    };
    Ok(Cut { from, bytes: number(bytes, "a number of bytes, ip+N or transport+N")? })
}

/// A length field that lies: a number, or how far off the truth.
pub(super) fn length(word: &str, truth: usize) -> Result<u16> {
    let expected = || format!("\"{word}\" is not a length, nor +N or -N to be off by");
    let value = match word.as_bytes().first() {
        Some(b'+' | b'-') => {
            let off: isize = word.parse().ok().with_context(expected)?;
            truth.checked_add_signed(off).and_then(|value| u16::try_from(value).ok())
        }
        _ => word.parse().ok(),
    };
    value.with_context(expected)
}

/// IPv4 options: a number of bytes to fill, their bytes behind 0x, or names.
pub(super) fn options(word: &str) -> Result<Vec<u8>> {
    let mut options = Vec::new();
    if let Some(digits) = word.strip_prefix("0x") {
        options = hex(digits)?;
    } else if let Ok(len) = word.parse::<usize>() {
        ensure!(len.is_multiple_of(4) && len <= 40, "\"options={word}\": a multiple of 4, at most 40");
        options = vec![1; len];
    } else {
        for name in word.split(',') {
            options.extend(option(name)?);
        }
    }
    // The end-of-options option fills up the last word.
    options.resize(options.len().next_multiple_of(4), 0);
    ensure!(options.len() <= 40, "\"options={word}\": {} bytes, at most 40 fit", options.len());
    Ok(options)
}

/// With room for one address or one timestamp.
fn option(name: &str) -> Result<&'static [u8]> {
    Ok(match name {
        "eol" => &[0],
        "nop" => &[1],
        "record-route" => &[7, 7, 4, 0, 0, 0, 0],
        "timestamp" => &[68, 8, 5, 0, 0, 0, 0, 0],
        "router-alert" => &[148, 4, 0, 0],
        "loose-route" => &[131, 7, 4, 198, 51, 100, 1],
        "strict-route" => &[137, 7, 4, 198, 51, 100, 1],
        _ => bail!(
            "\"{name}\" is no option: eol, nop, record-route, timestamp, router-alert, loose-route, \
             strict-route, or a number of bytes, or the bytes behind 0x"
        ),
    })
}
