//! The settings in effect, as the admin API tells them.

use bytes::Bytes;
use config::model::{Effective, Holds, SettingsTable, Shown};
use serde_json::{Value, json};

/// The document of `GET /v1/config`.
pub(super) fn document(Effective(tables): &Effective) -> Bytes {
    let tables: Vec<Value> = tables.iter().map(table).collect();
    json!({ "tables": tables }).to_string().into()
}

fn table(
    SettingsTable {
        title, settings, ..
    }: &SettingsTable,
) -> Value {
    let settings: Vec<Value> = settings.iter().map(setting).collect();
    json!({ "table": title, "settings": settings })
}

fn setting(Shown { key, holds }: &Shown) -> Value {
    match holds {
        Holds::Given(value) => json!({ "key": key, "value": value, "given": true }),
        Holds::Default(value) => json!({ "key": key, "value": value, "given": false }),
        Holds::Means(meant) => json!({ "key": key, "meant": meant, "given": false }),
    }
}
