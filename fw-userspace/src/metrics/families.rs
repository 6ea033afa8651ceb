//! Families of metrics as one iterator each: none of our counters lives in the client library, which keeps them for
//! longer than a scrape.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A label and its value; the library escapes it.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Where families are written to. Names come without the suffixes `_total` and `_info`, and without the unit.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Values that only grow.
    pub(super) fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = ([Label<'l>; N], u64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, rows, |mut encoder, value| {
            encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
        })
    }

    /// The same as a fraction, without labels.
    pub(super) fn counter_f64(&mut self, name: &str, help: &str, unit: &Unit, value: f64) -> fmt::Result {
        let rows = [([], value)];
        self.family(name, help, Some(unit), MetricType::Counter, rows, |mut encoder, value| {
            encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None)
        })
    }

    /// Values of this moment.
    pub(super) fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = ([Label<'l>; N], V)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, rows, |mut encoder, value| {
            encoder.encode_gauge(&value)
        })
    }

    /// What something is.
    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label<'_>; N],
    ) -> fmt::Result {
        self.0.encode_descriptor(name, &sentence(help), None, MetricType::Info)?.encode_info(labels)
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        rows: impl IntoIterator<Item = ([Label<'l>; N], V)>,
        write: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, &sentence(help), unit, kind)?;
        for (labels, value) in rows {
            write(encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

fn sentence(help: &str) -> String {
    format!("{help}.")
}
