//! JSON as a token means it: numbers exact, no member twice, bounded depth.
//!
//! `serde_json::Value` keeps the last of two equal members and turns integers above 2^64 into floats. Both would
//! let a token say one thing to us and another to whoever reads it next, so claims have a type of their own.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting that is read. Real tokens use three levels.
const MAX_DEPTH: usize = 16;

/// A JSON value; a number is its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; no member occurs twice.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// The text of a string, number or boolean; `None` for null, arrays and objects.
    pub fn scalar(&self) -> Option<String> {
        match self {
            Self::String(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A member of an object.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            _ => None,
        }
    }
}

/// Why bytes are not the JSON object wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonError {
    Syntax,
    NotAnObject,
    DuplicateKey(String),
    TooDeep,
}

/// Reads one JSON object and nothing after it.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<BTreeMap<String, Json>, JsonError> {
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|_| JsonError::Syntax)?;
    match parse_value(raw.get(), 0)? {
        Json::Object(members) => Ok(members),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Reads a value whose syntax `RawValue` has already checked; numbers are therefore well formed.
fn parse_value(raw: &str, depth: usize) -> Result<Json, JsonError> {
    if depth > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    match raw.as_bytes().first() {
        Some(b'{') => parse_members(raw, depth),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| JsonError::Syntax)?;
            let items: Result<_, _> = items
                .into_iter()
                .map(|item| parse_value(item.get(), depth + 1))
                .collect();
            Ok(Json::Array(items?))
        }
        Some(b'"') => serde_json::from_str(raw)
            .map(Json::String)
            .map_err(|_| JsonError::Syntax),
        Some(b't') => Ok(Json::Bool(true)),
        Some(b'f') => Ok(Json::Bool(false)),
        Some(b'n') => Ok(Json::Null),
        Some(_) => Ok(Json::Number(raw.to_owned())),
        None => Err(JsonError::Syntax),
    }
}

fn parse_members(raw: &str, depth: usize) -> Result<Json, JsonError> {
    let Members(members) = serde_json::from_str(raw).map_err(|_| JsonError::Syntax)?;
    let mut object = BTreeMap::new();
    for (name, value) in members {
        let value = parse_value(value.get(), depth + 1)?;
        if object.insert(name.clone(), value).is_some() {
            return Err(JsonError::DuplicateKey(name));
        }
    }
    Ok(Json::Object(object))
}

/// The members of an object in their order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_size_stay_exact() {
        let object = parse_object(br#"{ "n": 123456789012345678901234, "f": -1.50e3 }"#).unwrap();
        assert_eq!(object["n"], Json::Number("123456789012345678901234".into()));
        assert_eq!(object["f"], Json::Number("-1.50e3".into()));
    }

    #[test]
    fn a_member_twice_is_refused_at_any_depth() {
        assert_eq!(
            parse_object(br#"{"a":1,"a":2}"#),
            Err(JsonError::DuplicateKey("a".into()))
        );
        assert_eq!(
            parse_object(br#"{"o":[{"a":1,"\u0061":2}]}"#),
            Err(JsonError::DuplicateKey("a".into()))
        );
    }

    #[test]
    fn only_one_object_and_nothing_after_it() {
        for text in [
            "",
            "[]",
            "1",
            "{} {}",
            "{}x",
            "{\"a\":}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_object(&[b'{', b'"', 0xff, b'"', b':', b'1', b'}']).is_err());
        assert_eq!(parse_object(b" {} \n"), Ok(BTreeMap::new()));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(
            parse_object(nested(MAX_DEPTH + 1).as_bytes()),
            Err(JsonError::TooDeep)
        );
        assert_eq!(
            parse_object(nested(6000).as_bytes()),
            Err(JsonError::TooDeep)
        );
    }
}
