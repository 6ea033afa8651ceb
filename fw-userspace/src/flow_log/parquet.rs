//! A window as a file of Apache Parquet, with the types that AWS gives the columns
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html>).

use std::fmt::Write as _;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::field::{Field, Format};
use super::record::Value;
use crate::error::{Error, Result};

/// The columns of a window, one for each field.
pub(super) struct Table {
    fields: Vec<Field>,
    columns: Vec<Column>,
}

/// Values in the order of the records; nothing where a record has `-`.
enum Column {
    Int32(Vec<Option<i32>>),
    Int64(Vec<Option<i64>>),
    Text(Vec<Option<ByteArray>>),
}

impl Column {
    fn of(field: Field) -> Self {
        match field {
            Field::Version
            | Field::Srcport
            | Field::Dstport
            | Field::Protocol
            | Field::TcpFlags
            | Field::TrafficPath
            | Field::EncryptionStatus => Self::Int32(Vec::new()),
            Field::Packets | Field::Bytes | Field::Start | Field::End | Field::FwctlSkippedPackets => {
                Self::Int64(Vec::new())
            }
            _ => Self::Text(Vec::new()),
        }
    }

    /// As a message type names it.
    const fn physical(&self) -> &'static str {
        match self {
            Self::Int32(_) => "int32",
            Self::Int64(_) => "int64",
            Self::Text(_) => "binary",
        }
    }

    fn add(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Int32(values), Value::Number(number)) => values.push(i32::try_from(number).ok()),
            (Self::Int64(values), Value::Number(number)) => values.push(i64::try_from(number).ok()),
            (Self::Int32(values), _) => values.push(None),
            (Self::Int64(values), _) => values.push(None),
            (Self::Text(values), Value::None | Value::Text("")) => values.push(None),
            (Self::Text(values), Value::Text(text)) => values.push(Some(text.into())),
            (Self::Text(values), value) => values.push(Some(value.to_string().as_str().into())),
        }
    }

    fn write(
        &self,
        rows: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    ) -> std::result::Result<(), ParquetError> {
        match self {
            Self::Int32(values) => write::<Int32Type>(values, rows),
            Self::Int64(values) => write::<Int64Type>(values, rows),
            Self::Text(values) => write::<ByteArrayType>(values, rows),
        }
    }
}

impl Table {
    /// Empty.
    pub(super) fn of(format: &Format) -> Self {
        let fields = format.fields().to_vec();
        let columns = fields.iter().map(|field| Column::of(*field)).collect();
        Self { fields, columns }
    }

    /// A record.
    pub(super) fn add<'v>(&mut self, value: impl Fn(Field) -> Value<'v>) {
        for (field, column) in self.fields.iter().zip(&mut self.columns) {
            column.add(value(*field));
        }
    }

    /// The file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        self.try_bytes().map_err(|error| Error::system(format!("cannot write Parquet: {error}")))
    }

    fn try_bytes(&self) -> std::result::Result<Vec<u8>, ParquetError> {
        let mut schema = "message flow_log {".to_owned();
        for (field, column) in self.fields.iter().zip(&self.columns) {
            let text = if matches!(column, Column::Text(_)) { " (utf8)" } else { "" };
            // To memory, which takes everything.
            let _ = write!(schema, " optional {} {}{text};", column.physical(), name(*field));
        }
        schema.push('}');
        let schema = Arc::new(parse_message_type(&schema)?);
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::default())?;
        let mut rows = file.next_row_group()?;
        for column in &self.columns {
            column.write(&mut rows)?;
        }
        rows.close()?;
        file.into_inner()
    }
}

/// Hyphens are none in names of columns.
fn name(field: Field) -> String {
    field.name().replace('-', "_")
}

fn write<T: DataType>(
    values: &[Option<T::T>],
    rows: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
) -> std::result::Result<(), ParquetError> {
    let Some(mut column) = rows.next_column()? else { return Ok(()) };
    let is_there: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let there: Vec<T::T> = values.iter().flatten().cloned().collect();
    column.typed::<T>().write_batch(&there, Some(&is_there), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_the_types_of_aws() {
        let format = Format::parse("interface-id dstport bytes srcaddr action instance-id").unwrap();
        let mut table = Table::of(&format);
        for number in 0..3u64 {
            table.add(|field| match field {
                Field::InterfaceId => Value::Text("eni-web"),
                Field::Dstport => Value::Number(443 + number),
                Field::Bytes => Value::Number(5_000_000_000),
                Field::Srcaddr => Value::Address("10.0.0.1".parse().unwrap()),
                Field::Action if number < 2 => Value::Text("ACCEPT"),
                _ => Value::None,
            });
        }
        let file = SerializedFileReader::new(hyper::body::Bytes::from(table.bytes().unwrap())).unwrap();
        assert_eq!(file.metadata().file_metadata().num_rows(), 3);
        let rows: Vec<String> =
            file.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(
            rows[0],
            "{interface_id: \"eni-web\", dstport: 443, bytes: 5000000000, srcaddr: \"10.0.0.1\", \
             action: \"ACCEPT\", instance_id: null}"
        );
        assert!(rows[2].contains("dstport: 445") && rows[2].contains("action: null"), "{}", rows[2]);
    }
}
