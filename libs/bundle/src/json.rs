//! What the JSON libraries leave open: repeated members, depth, and the text of times.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess,
    Visitor,
};

/// Levels of nesting in any document that is read here; a bundle has seven.
const MAX_DEPTH: usize = 64;
/// Values in a message, at all levels together. The largest trusted root that the limits allow has some forty thousand; what
/// is made of an empty object can take a hundred times the two bytes that it is written with.
const MAX_VALUES: usize = 1 << 16;

/// Reads a proto3 JSON message: repeated members are refused, and null members are absent ones. What it takes of memory is
/// settled by [`MAX_VALUES`] and the length of the document.
///
/// The generated readers take null for some kinds of field only, while other writers put it
/// wherever they have nothing to say.
pub(crate) fn parse_message<T: DeserializeOwned>(document: &[u8]) -> Result<T, serde_json::Error> {
    if !walk(document, MAX_VALUES)? {
        return serde_json::from_slice(document);
    }
    serde_json::from_slice(&without_null_members(document))
}

/// Refuses a document in which an object repeats a member, at any depth.
///
/// Parsers disagree on which of the two counts, so that one bundle could mean two things.
pub(crate) fn refuse_repeated_members(document: &[u8]) -> Result<(), serde_json::Error> {
    walk(document, usize::MAX).map(|_| ())
}

/// Whether the document has a null somewhere; an error when a member is repeated, or when there are more than `most` values.
fn walk(document: &[u8], most: usize) -> Result<bool, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let walk = Walk {
        depth: 0,
        values_left: &Cell::new(most),
    };
    let nulls = walk.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(nulls)
}

/// What is written as an object. Derived readers also take an array of the members in their order, which no other reader of
/// these documents does, so that one document could say something to us and nothing to everybody else.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        deserializer
            .deserialize_map(Members(PhantomData))
            .map(Object)
    }
}

/// The same for a field: `deserialize_with`.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(read)| read)
}

/// The document without members whose value is null.
///
/// A tree of values would be shorter to write and costs thirty times the document: a bundle may have 32 MiB. The
/// text has been read by [`walk`], so strings end and brackets match.
fn without_null_members(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len());
    // Where in `out` the member under way begins, and whether one stands before it; one for each open bracket.
    let mut open: Vec<Member> = Vec::new();
    let mut rest = document;
    while let Some((&byte, after)) = rest.split_first() {
        let (token, after) = match byte {
            b'"' => rest.split_at(string_len(rest)),
            _ => (rest.get(..1).unwrap_or_default(), after),
        };
        rest = after;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b',' => {
                close_member(&mut out, open.last_mut());
            }
            b'{' | b'[' => {
                begin_value(&mut out, open.last_mut());
                out.push(byte);
                open.push(Member {
                    in_object: byte == b'{',
                    start: out.len(),
                    first: true,
                    begun: false,
                });
            }
            b'}' | b']' => {
                close_member(&mut out, open.last_mut());
                open.pop();
                out.push(byte);
            }
            _ => {
                begin_value(&mut out, open.last_mut());
                out.extend_from_slice(token);
            }
        }
    }
    out
}

/// A member of an object, or an item of an array, while it is copied.
struct Member {
    in_object: bool,
    start: usize,
    /// Nothing has been kept before it.
    first: bool,
    begun: bool,
}

/// Puts the comma between what was kept and what comes.
fn begin_value(out: &mut Vec<u8>, member: Option<&mut Member>) {
    let Some(member) = member.filter(|member| !member.begun) else {
        return;
    };
    member.start = out.len();
    member.begun = true;
    if !member.first {
        out.push(b',');
    }
}

/// Takes a member back whose value is null; an item of an array stays.
fn close_member(out: &mut Vec<u8>, member: Option<&mut Member>) {
    let Some(member) = member.filter(|member| member.begun) else {
        return;
    };
    member.begun = false;
    let written = out.get(member.start..).unwrap_or_default();
    if member.in_object && written.ends_with(b":null") {
        out.truncate(member.start);
    } else {
        member.first = false;
    }
}

/// Length of the string at the front, quotes included.
fn string_len(text: &[u8]) -> usize {
    let mut escaped = false;
    let inside = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    inside.map_or(text.len(), |length| length + 2)
}

/// A time of Unix seconds as RFC 3339, or the number itself when no calendar reaches it.
pub(crate) fn rfc3339(unix: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| unix.to_string())
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: usize,
    values_left: &'a Cell<usize>,
}

impl Walk<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let left = self.values_left.get().checked_sub(1);
        let left =
            left.ok_or_else(|| D::Error::custom("more values than any honest document has"))?;
        self.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

/// Visits everything; the value is whether a null was among it.
impl<'de> Visitor<'de> for Walk<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let inner = self.deeper()?;
        let mut nulls = false;
        while let Some(null) = items.next_element_seed(inner)? {
            nulls |= null;
        }
        Ok(nulls)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let inner = self.deeper()?;
        let mut nulls = false;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            nulls |= members.next_value_seed(inner)?;
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format_args!(
                    "member {name:?} appears twice"
                )));
            }
        }
        Ok(nulls)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn repeated_members_are_refused_at_any_depth() {
        refuse_repeated_members(br#"{"a":1,"b":[{"a":2},{"a":3}],"c":null}"#).expect("no repeats");
        for document in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"x":[{"k":1,"k":2}]}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = refuse_repeated_members(document.as_bytes()).expect_err(document);
            assert!(error.to_string().contains("appears twice"), "{error}");
        }
    }

    #[test]
    fn a_structure_is_written_as_an_object() {
        #[derive(Debug, Deserialize)]
        struct Pair {
            #[serde(deserialize_with = "object")]
            inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        struct Inner {
            number: u8,
        }
        let read = |text: &str| {
            let Object(pair): Object<Pair> = serde_json::from_str(text).ok()?;
            Some(pair.inner.number)
        };
        assert_eq!(read(r#"{"inner":{"number":7}}"#), Some(7));
        for array in [r#"[{"number":7}]"#, r#"{"inner":[7]}"#, "[[7]]"] {
            assert_eq!(read(array), None, "{array}");
        }
        let refused = serde_json::from_str::<Object<Pair>>("[[7]]").expect_err("an array");
        assert!(
            refused.to_string().contains("expected an object"),
            "{refused}"
        );
        let derived: Result<Inner, _> = serde_json::from_str("[7]");
        assert!(derived.is_ok(), "derived readers take arrays");
    }

    #[test]
    fn null_members_are_absent_ones() {
        use sealwright_proto::common::v1::{HashOutput, PublicKey};
        let key: PublicKey =
            parse_message(br#"{"rawBytes":null,"keyDetails":null,"validFor":{"start":null}}"#)
                .expect("nulls");
        assert_eq!((key.raw_bytes, key.key_details), (None, 0));
        assert!(key.valid_for.is_some_and(|window| window.start.is_none()));
        assert!(parse_message::<HashOutput>(br#"{"digest":null,"digest":"AAAA"}"#).is_err());
        assert!(
            parse_message::<HashOutput>(br#"{"unknown":null}"#).is_ok(),
            "an absent member is no member"
        );
        assert!(parse_message::<HashOutput>(br#"{"unknown":1}"#).is_err());
    }

    #[test]
    fn null_members_are_taken_out_of_the_text() {
        let without = |document: &str| {
            let out = without_null_members(document.as_bytes());
            String::from_utf8(out).expect("UTF-8")
        };
        for (document, expected) in [
            ("null", "null"),
            ("[null, null]", "[null,null]"),
            (r#"{"a":null}"#, "{}"),
            (
                r#"{"a":null,"b":1,"c":null,"d":[{"e":null}],"f":null}"#,
                r#"{"b":1,"d":[{}]}"#,
            ),
            (r#"{ "a" : null , "b" : -1.5e3 }"#, r#"{"b":-1.5e3}"#),
            (
                r#"{"a":":null","b":"\\\",\"x\":null","c":null}"#,
                r#"{"a":":null","b":"\\\",\"x\":null"}"#,
            ),
            (
                r#"{"a":{"b":null},"c":[],"d":{},"e":true}"#,
                r#"{"a":{},"c":[],"d":{},"e":true}"#,
            ),
        ] {
            assert_eq!(without(document), expected, "{document}");
        }
    }

    #[test]
    fn depth_and_trailing_bytes_are_refused() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert!(refuse_repeated_members(deep.as_bytes()).is_err());
        let fits = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        refuse_repeated_members(fits.as_bytes()).expect("as deep as allowed");
        assert!(refuse_repeated_members(b"{} {}").is_err());
    }

    #[test]
    fn values_are_counted_at_all_levels_together() {
        use sealwright_proto::rekor::v1::InclusionProof;
        // The document itself and the list are values too.
        let proof = |hashes: usize| {
            let hashes = vec![r#""""#; hashes].join(",");
            parse_message::<InclusionProof>(format!(r#"{{"hashes":[{hashes}]}}"#).as_bytes())
        };
        let fits = proof(MAX_VALUES - 2).expect("as many as allowed");
        assert_eq!(fits.hashes.len(), MAX_VALUES - 2);
        let error = proof(MAX_VALUES - 1).expect_err("one more");
        assert!(error.to_string().contains("more values"), "{error}");
        let long = format!("[{}1]", "1,".repeat(MAX_VALUES));
        refuse_repeated_members(long.as_bytes()).expect("a statement may be long");
    }

    #[test]
    fn times_read_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn a_null_is_found_wherever_it_stands_and_nothing_else_is_taken_for_one() {
        let nulls = |text: &str| walk(text.as_bytes(), 100).expect(text);
        for text in [
            "true",
            "false",
            "-1",
            "1",
            "1.5",
            r#""null""#,
            "[]",
            "{}",
            r#"[true,-1,1,1.5,"x",[0],{"null":[]}]"#,
        ] {
            assert!(!nulls(text), "{text}");
        }
        for text in [
            "null",
            "[null]",
            "[null,1]",
            "[1,null]",
            r#"{"a":null,"b":1}"#,
            r#"{"a":[{"b":null}],"c":1}"#,
        ] {
            assert!(nulls(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_null_member_is_copied() {
        for (document, expected) in [
            (r#"[{"a":1},{"b":null},[2],3]"#, r#"[{"a":1},{},[2],3]"#),
            (r#"{"a":{"b":null},"c":[]}"#, r#"{"a":{},"c":[]}"#),
            (r#"[null,{"a":null,"b":2}]"#, r#"[null,{"b":2}]"#),
            (r#"{"":null,"a":1}"#, r#"{"a":1}"#),
            (r#"{"\"":null,"\\":"\"","x":""}"#, r#"{"\\":"\"","x":""}"#),
        ] {
            let copy = without_null_members(document.as_bytes());
            assert_eq!(String::from_utf8_lossy(&copy), expected, "{document}");
        }
    }
}
