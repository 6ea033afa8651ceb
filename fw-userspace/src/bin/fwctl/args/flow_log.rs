//! `fwctl flow-log`.

use std::path::PathBuf;

use clap::Args;
use fw_userspace::flow_log::Format;

/// Write VPC Flow Log records of what is filtered
///
/// Adds up the packets of each flow in the kernel, one direction of a 5-tuple at one interface, and writes a record of each
/// once a window: by default AWS's 14 fields of version 2. What happened to more flows than there is room for becomes
/// SKIPDATA, an interface without traffic NODATA. Runs until interrupted, then writes the last window; one that is killed
/// is followed by the next without a gap. One at a time can be kept. docs/flow-logs.md has all fields, and what is not
/// logged.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl flow-log\n  \
                        fwctl flow-log --max-aggregation-interval 60 --output /var/log/fwctl/flows.log.gz --gzip \
                        --rotate-every 1d --keep 14\n  \
                        fwctl flow-log --traffic-type REJECT --json --format \
                        '${srcaddr} ${dstaddr} ${dstport} ${packets} ${fwctl-reason} ${fwctl-acl-rule}'")]
pub(crate) struct FlowLog {
    #[command(flatten)]
    pub(crate) records: Records,
    /// A file, a directory that gets files named as in an S3 bucket, or `-` for standard output
    #[arg(long, value_name = "PATH", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// What is in a flow log and how it is written; also of `fwctl serve`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Flow log")]
pub(crate) struct Records {
    /// Fields in their order, as AWS writes them: '${srcaddr} ${dstaddr} ${tcp-flags}'; names alone do as well
    #[arg(long, value_name = "FIELDS", value_parser = format, default_value = "", hide_default_value = true)]
    pub(crate) format: Format,
    /// Only what passed, only what was dropped, or all
    #[arg(long, value_enum, ignore_case = true, default_value = "ALL", value_name = "TYPE")]
    pub(crate) traffic_type: TrafficType,
    /// Length of a window; AWS has 60 and 600
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) max_aggregation_interval: u64,
    /// Flows that fit into a window; the packets of others are only counted, as SKIPDATA
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub(crate) max_flows: u32,
    /// The field account-id
    #[arg(long, value_name = "ID", default_value = "unknown", value_parser = account)]
    pub(crate) account_id: String,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Write Apache Parquet, a file for each window, into the directory
    #[cfg(feature = "parquet")]
    #[arg(long, conflicts_with_all = ["json", "gzip"])]
    pub(crate) parquet: bool,
    /// Compress
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Begin another file before one is larger than this, such as 100M
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) rotate_size: Option<u64>,
    /// Begin another file when one is older than this, such as 30s, 5m, 1h, 1d; in a directory 5m unless said otherwise
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) rotate_every: Option<u64>,
    /// Keep so many of the files that get no more, and remove older ones
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
}

/// AWS's `--traffic-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TrafficType {
    /// What passed
    #[value(name = "ACCEPT")]
    Accept,
    /// What was dropped
    #[value(name = "REJECT")]
    Reject,
    /// Both
    #[value(name = "ALL")]
    All,
}

fn format(text: &str) -> Result<Format, String> {
    if text.is_empty() {
        return Ok(Format::default());
    }
    Format::parse(text).map_err(|error| error.to_string())
}

/// A part of file names, too.
fn account(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("must be letters, digits and dashes, such as 111122223333".to_owned())
    }
}

/// Bytes from `64K`, `100M`, `1G`.
fn size(text: &str) -> Result<u64, String> {
    let bytes = unit(text, &[('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)]);
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "must be a number of bytes, such as 64K, 100M or 1G".to_owned())
}

/// Seconds from `30s`, `5m`, `1h`, `1d`.
fn seconds(text: &str) -> Result<u64, String> {
    let seconds = unit(text, &[('S', 1), ('M', 60), ('H', 3600), ('D', 86_400)]);
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "must be a time, such as 30s, 5m, 1h or 1d".to_owned())
}

fn unit(text: &str, units: &[(char, u64)]) -> Option<u64> {
    let last = text.chars().last()?.to_ascii_uppercase();
    match units.iter().find(|(unit, _)| *unit == last) {
        Some((_, factor)) => text.get(..text.len() - 1)?.parse::<u64>().ok()?.checked_mul(*factor),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("100M"), Ok(100 << 20));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1d"), Ok(86_400));
        for wrong in ["", "0", "M", "-1", "1.5G", "99999999999999999999G", "1ü"] {
            assert!(size(wrong).is_err() && seconds(wrong).is_err(), "{wrong}");
        }
    }
}
