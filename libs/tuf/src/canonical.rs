//! OLPC canonical JSON: the bytes under every TUF signature.
//!
//! Object members are sorted by code point, there is no white space, numbers are integers, and inside a string only
//! `"` and `\` are escaped: a newline stays a raw newline, so the canonical form is not always JSON that a parser
//! accepts. Files are therefore written as ordinary JSON, and only digests and signatures use this form.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Problem;

/// Reads JSON strictly: a member name twice in one object, a fraction, an exponent, or anything after the value is
/// refused, because two readers could understand them differently. Nesting is capped at 128.
///
/// # Errors
/// [`Problem::Json`] with what the parser says and where.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let strict: Strict =
        serde_json::from_slice(bytes).map_err(|error| Problem::Json(error.to_string()))?;
    Ok(strict.0)
}

/// The canonical form of a value.
///
/// # Errors
/// [`Problem::NotAnInteger`] when a number has a fraction, an exponent, or more than 64 bits.
pub fn encode(value: &Value) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    write_value(value, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, out: &mut Vec<u8>) -> Result<(), Problem> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(Problem::NotAnInteger(number.to_string()));
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => write_array(items, out)?,
        Value::Object(members) => write_object(members, out)?,
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn write_array(items: &[Value], out: &mut Vec<u8>) -> Result<(), Problem> {
    out.push(b'[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_value(item, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Sorted here, not by trust in the map: another crate of the build may turn on insertion order in `serde_json`.
/// UTF-8 sorts by bytes as it does by code points.
fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), Problem> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    out.push(b'{');
    for (position, (name, value)) in sorted.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_value(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions or duplicate members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!(
            "{value} is not an integer of 64 bits"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "member {name:?} appears twice"
                )));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(encode(&parse(text.as_bytes()).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn members_are_sorted_and_white_space_is_gone() {
        assert_eq!(
            canonical("{ \"b\" : [ 1 , -2, {} ],\n \"a\":null, \"B\": true, \"\u{e9}\": false }"),
            "{\"B\":true,\"a\":null,\"b\":[1,-2,{}],\"\u{e9}\":false}"
        );
    }

    #[test]
    fn only_quote_and_backslash_are_escaped() {
        assert_eq!(
            canonical(r#"{"k":"a\"b\\c\nd\u0001\u00e9\/"}"#),
            "{\"k\":\"a\\\"b\\\\c\nd\u{1}\u{e9}/\"}"
        );
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        for text in [
            "1.0",
            "1e2",
            "-0",
            "18446744073709551616",
            "{\"a\":1,\"a\":1}",
            "{\"x\":[{\"a\":1,\"\\u0061\":2}]}",
            "{} {}",
            "\"\\ud800\"",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse("[".repeat(200).as_bytes()).is_err());
    }

    #[test]
    fn a_float_made_by_a_caller_has_no_canonical_form() {
        assert!(matches!(
            encode(&serde_json::json!({"a": 1.5})),
            Err(Problem::NotAnInteger(_))
        ));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_and_its_file_have_one_canonical_form(value in any_value()) {
            let file = serde_json::to_vec_pretty(&value).unwrap();
            let read = parse(&file).unwrap();
            prop_assert_eq!(encode(&read).unwrap(), encode(&value).unwrap());
            prop_assert_eq!(read, value);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = parse(&bytes) {
                prop_assert!(encode(&value).is_ok());
            }
        }
    }
}
