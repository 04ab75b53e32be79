//! What there is to ask: columns and their types, by the names that SQL has for them.

use datafusion::arrow::datatypes::{DataType, Fields};

/// The name of a type in SQL.
pub(super) fn type_name(of: &DataType) -> String {
    let name = match of {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "utinyint",
        DataType::UInt16 => "usmallint",
        DataType::UInt32 => "uinteger",
        DataType::UInt64 => "ubigint",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "blob",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(..) => "timestamp",
        DataType::Duration(_) | DataType::Interval(_) => "interval",
        DataType::Dictionary(_, values) => return type_name(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => return format!("{}[]", type_name(item.data_type())),
        DataType::Struct(fields) => return format!("struct({})", named(fields)),
        DataType::Map(entries, _) => return format!("map({})", type_name(entries.data_type())),
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}

fn named(fields: &Fields) -> String {
    let field =
        |f: &std::sync::Arc<datafusion::arrow::datatypes::Field>| format!("{} {}", f.name(), type_name(f.data_type()));
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}
