//! `bundle inspect`.

use std::fmt::Write as _;
use std::path::Path;

use sealwright_sdk::{Error, inspect as inspect_bundle, read_bundle};
use serde_json::Value;

use crate::output::Report;

/// Shows what a bundle says.
pub(crate) fn inspect(path: &Path) -> Result<Report, Error> {
    let value = inspect_bundle(&read_bundle(path)?);
    let mut product = "Nothing here has been verified.\n".to_owned();
    list(&mut product, &value, 0);
    Ok(Report {
        product,
        json: value.to_string(),
        ..Report::default()
    })
}

/// An indented list of names and values.
fn list(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let mut line = |name: &str, value: &Value| {
        // Within a payload the names are the signer's, too.
        let name = name.escape_debug();
        match value {
            Value::Object(_) | Value::Array(_) => {
                let _ = writeln!(out, "{indent}{name}:");
                list(out, value, depth + 1);
            }
            Value::Null => {}
            Value::String(text) if text.contains('\n') => {
                let _ = writeln!(out, "{indent}{name}:");
                for text in text.lines() {
                    let _ = writeln!(out, "{indent}  {text}");
                }
            }
            Value::String(text) => {
                let _ = writeln!(out, "{indent}{name}: {}", text.escape_debug());
            }
            other => {
                let _ = writeln!(out, "{indent}{name}: {other}");
            }
        }
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| line(name, value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| line(&index.to_string(), value)),
        other => line("value", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_payload_begins_no_line_of_its_own() {
        let value = serde_json::json!({ "a\nVerified OK": 1, "b": "two\nlines" });
        let mut out = String::new();
        list(&mut out, &value, 0);
        assert_eq!(out, "a\\nVerified OK: 1\nb:\n  two\n  lines\n");
    }
}
