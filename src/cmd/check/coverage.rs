//! `weir check --coverage`: every field, and what becomes of it.

use crate::args::Format;
use weir_config::coverage::{Status, rows};

/// The table as text, or as JSON.
pub(super) fn shown(format: Format) -> String {
    let rows = rows();
    if format == Format::Json {
        let fields: Vec<_> = rows
            .iter()
            .map(|row| {
                serde_json::json!({ "kind": row.kind, "group": row.group, "field": row.path, "status": row.status.word() })
            })
            .collect();
        return format!("{:#}\n", serde_json::json!({ "version": 1, "fields": fields }));
    }
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let mut text = String::new();
    let mut kind = "";
    for row in &rows {
        if row.kind != kind {
            kind = row.kind;
            text += &format!("\n{kind} {}\n", row.group);
        }
        text += &format!("  {:8}  {}\n", row.status.word(), row.path);
    }
    text += &format!(
        "\n{} fields: {} enforced, {} checked, {} not yet\n",
        rows.len(),
        count(Status::Enforced),
        count(Status::Checked),
        count(Status::Later)
    );
    text.trim_start().to_owned()
}
