//! Every change to every member of a JSON document, and to what its strings hold.

use std::sync::Arc;

use sealwright_crypto::base64;
use sealwright_testkit::mutate::json::Json;

use super::change::Change;
use super::der;

/// Members whose strings are base64, by name; in proto3 JSON nothing else says so.
const BINARY: [&str; 14] = [
    "rawBytes",
    "keyId",
    "signedEntryTimestamp",
    "rootHash",
    "hashes",
    "canonicalizedBody",
    "signedTimestamp",
    "digest",
    "signature",
    "payload",
    "sig",
    "content",
    "verifier",
    "publicKey",
];

/// Changes to a document; `donor` is another of its kind, whose members take the place of this one's.
pub fn changes(document: &[u8], donor: Option<&[u8]>) -> Vec<Change> {
    let Some(json) = Json::parse(document) else {
        return Vec::new();
    };
    let walk = Walk {
        document: Arc::new(json),
        donor: donor.and_then(Json::parse).map(Arc::new),
    };
    let mut changes = Vec::new();
    walk.descend(&walk.document, &mut Vec::new(), &mut changes);
    changes.extend(around(&walk.document));
    changes
}

struct Walk {
    document: Arc<Json>,
    donor: Option<Arc<Json>>,
}

/// One step down: the position, and the member's name in an object.
type Step = (usize, Option<String>);

impl Walk {
    fn descend(&self, here: &Json, path: &mut Vec<Step>, changes: &mut Vec<Change>) {
        let children: Vec<(Option<String>, &Json)> = match here {
            Json::Object(members) => members
                .iter()
                .map(|(name, value)| (Some(name.clone()), value))
                .collect(),
            Json::Array(items) => items.iter().map(|item| (None, item)).collect(),
            Json::Raw(_) | Json::Text(_) => Vec::new(),
        };
        for (position, (name, child)) in children.into_iter().enumerate() {
            path.push((position, name));
            self.places(path, changes);
            self.values(child, path, changes);
            self.descend(child, path, changes);
            path.pop();
        }
    }

    /// Changes to the place: whether it is there, how often, and under what name.
    fn places(&self, path: &[Step], changes: &mut Vec<Change>) {
        for (kind, edit) in PLACE_EDITS {
            let (document, path_) = (self.document.clone(), path.to_vec());
            changes.push(Change::new(kind, shown(path), move || {
                let mut document = Json::clone(&document);
                let ((last, _), above) = path_.split_last()?;
                edit(at(&mut document, above)?, *last)?;
                Some(document.to_text().into_bytes())
            }));
        }
        let (document, donor, path_) = (self.document.clone(), self.donor.clone(), path.to_vec());
        changes.push(Change::new(
            "from another document",
            shown(path),
            move || {
                let mut donor = Json::clone(donor.as_ref()?);
                let (mut document, given) =
                    (Json::clone(&document), by_name(&mut donor, &path_)?.clone());
                let taken = at(&mut document, &path_)?;
                (*taken != given).then(|| *taken = given)?;
                Some(document.to_text().into_bytes())
            },
        ));
    }

    /// Changes to the value alone.
    fn values(&self, value: &Json, path: &[Step], changes: &mut Vec<Change>) {
        for (kind, new) in replacements(value) {
            changes.push(self.replaced(kind, path, new));
        }
        let Json::Text(text) = value else {
            return;
        };
        for (kind, new) in texts(text) {
            changes.push(self.replaced(kind, path, Json::Text(new)));
        }
        if text.parse::<i64>().is_ok() {
            for (kind, new) in numbers(text) {
                changes.push(self.replaced(kind, path, new));
            }
        }
        let name = path.iter().rev().find_map(|(_, name)| name.as_deref());
        if name.is_some_and(|name| BINARY.contains(&name))
            && let Ok(content) = base64::decode(text)
        {
            for (kind, new) in spellings(text) {
                changes.push(self.replaced(kind, path, Json::Text(new)));
            }
            self.packed(&content, path, changes);
        }
    }

    /// Changes inside what a base64 string holds.
    fn packed(&self, content: &[u8], path: &[Step], changes: &mut Vec<Change>) {
        for change in content_changes(content) {
            let (document, path_) = (self.document.clone(), path.to_vec());
            let wrapped = change.within("", &shown(path), move |bytes| {
                let mut document = Json::clone(&document);
                *at(&mut document, &path_)? = Json::Text(base64::encode(&bytes));
                Some(document.to_text().into_bytes())
            });
            changes.push(wrapped);
        }
    }

    fn replaced(&self, kind: &'static str, path: &[Step], new: Json) -> Change {
        let (document, path_) = (self.document.clone(), path.to_vec());
        Change::new(kind, shown(path), move || {
            let mut document = Json::clone(&document);
            *at(&mut document, &path_)? = new.clone();
            Some(document.to_text().into_bytes())
        })
    }
}

/// Changes to bytes, taken apart when they are JSON or DER.
pub fn content_changes(content: &[u8]) -> Vec<Change> {
    let layer = |changes: Vec<Change>, layer| {
        changes
            .into_iter()
            .map(|change| change.within(layer, "", Some))
            .collect()
    };
    if content.first() == Some(&b'{') {
        return layer(changes(content, None), "packed JSON");
    }
    let inside = der::changes(content);
    if content.first() == Some(&0x30) && !inside.is_empty() {
        return layer(inside, "packed DER");
    }
    layer(byte_changes(content), "packed bytes")
}

fn byte_changes(content: &[u8]) -> Vec<Change> {
    let content: Arc<[u8]> = content.into();
    let edit = |kind, edit: fn(&mut Vec<u8>) -> Option<()>| {
        let content = content.clone();
        Change::new(kind, "", move || {
            let mut changed = content.to_vec();
            edit(&mut changed)?;
            Some(changed)
        })
    };
    vec![
        edit("first bit flipped", |bytes| {
            bytes.first_mut().map(|byte| *byte ^= 0x80)
        }),
        edit("last bit flipped", |bytes| {
            bytes.last_mut().map(|byte| *byte ^= 1)
        }),
        edit("bit flipped inside", |bytes| {
            let middle = bytes.len() / 2;
            bytes.get_mut(middle).map(|byte| *byte ^= 0x10)
        }),
        edit("last byte cut", |bytes| bytes.pop().map(drop)),
        edit("byte behind", |bytes| {
            bytes.push(0);
            Some(())
        }),
        edit("byte in front", |bytes| {
            bytes.insert(0, 0);
            Some(())
        }),
        edit("zeros", |bytes| {
            bytes.fill(0);
            Some(())
        }),
        edit("no bytes", |bytes| {
            bytes.clear();
            Some(())
        }),
        edit("four bytes left", |bytes| {
            (bytes.len() > 4).then(|| bytes.truncate(4))
        }),
    ]
}

/// Changes that leave the values: white space, order, escapes, and what stands around the document.
pub fn around(document: &Arc<Json>) -> Vec<Change> {
    let edit = |kind, edit: fn(&Json) -> Vec<u8>| {
        let document = document.clone();
        Change::new(kind, "", move || {
            let changed = edit(&document);
            (changed != document.to_text().as_bytes()).then_some(changed)
        })
    };
    let mut changes = vec![
        edit("byte order mark", |json| {
            [b"\xef\xbb\xbf", json.to_text().as_bytes()].concat()
        }),
        edit("line feed behind", |json| {
            [json.to_text().as_bytes(), b"\n"].concat()
        }),
        edit("space in front", |json| {
            [b" ", json.to_text().as_bytes()].concat()
        }),
        edit("zero byte behind", |json| {
            [json.to_text().as_bytes(), b"\0"].concat()
        }),
        edit("brace behind", |json| {
            [json.to_text().as_bytes(), b"}"].concat()
        }),
        edit("document behind", |json| {
            [json.to_text().as_bytes(), b"{}"].concat()
        }),
        edit("comment behind", |json| {
            [json.to_text().as_bytes(), b"//"].concat()
        }),
        edit("last byte cut", |json| {
            let text = json.to_text();
            text.as_bytes()
                .split_last()
                .map_or_else(Vec::new, |(_, rest)| rest.to_vec())
        }),
        edit("in an array", |json| {
            [b"[", json.to_text().as_bytes(), b"]"].concat()
        }),
        edit("in UTF-16", |json| {
            json.to_text()
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect()
        }),
        edit("no document", |_| Vec::new()),
        edit("spaces between", |json| {
            json.to_text()
                .replace("\":", "\" : ")
                .replace(",\"", ",\n\t\"")
                .into_bytes()
        }),
        edit("form feeds between", |json| {
            json.to_text().replace("\":", "\"\u{c}:").into_bytes()
        }),
        edit("comma behind the last member", |json| {
            json.to_text().replacen('}', ",}", 1).into_bytes()
        }),
        edit("names in single quotes", |json| {
            json.to_text().replace('"', "'").into_bytes()
        }),
        edit("members in reverse", |json| {
            reversed(json).to_text().into_bytes()
        }),
        edit("slashes escaped", |json| {
            json.to_text().replace('/', "\\/").into_bytes()
        }),
        edit("letters escaped", |json| {
            json.to_text().replace('a', "\\u0061").into_bytes()
        }),
        edit("letters escaped in capitals", |json| {
            json.to_text().replace('k', "\\u006B").into_bytes()
        }),
    ];
    for (kind, levels) in [("nested 60 deep", 60), ("nested 200 deep", 200)] {
        let document = document.clone();
        changes.push(Change::new(kind, "", move || {
            let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let text = document.to_text();
            Some(
                text.replacen('{', &format!("{{\"x\":{deep},"), 1)
                    .into_bytes(),
            )
        }));
    }
    changes
}

fn reversed(json: &Json) -> Json {
    match json {
        Json::Object(members) => Json::Object(
            members
                .iter()
                .rev()
                .map(|(name, value)| (name.clone(), reversed(value)))
                .collect(),
        ),
        Json::Array(items) => Json::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

type Edit = fn(&mut Json, usize) -> Option<()>;

const PLACE_EDITS: [(&str, Edit); 12] = [
    ("removed", |parent, at| match parent {
        Json::Object(members) => (at < members.len()).then(|| drop(members.remove(at))),
        Json::Array(items) => (at < items.len()).then(|| drop(items.remove(at))),
        _ => None,
    }),
    ("repeated", |parent, at| match parent {
        Json::Object(members) => {
            let member = members.get(at)?.clone();
            members.push(member);
            Some(())
        }
        Json::Array(items) => {
            let item = items.get(at)?.clone();
            items.push(item);
            Some(())
        }
        _ => None,
    }),
    ("repeated with null behind", |parent, at| {
        repeat(parent, at, Json::Raw("null".into()), false)
    }),
    ("repeated with null in front", |parent, at| {
        repeat(parent, at, Json::Raw("null".into()), true)
    }),
    ("repeated with text behind", |parent, at| {
        repeat(parent, at, Json::Text("AAAA".into()), false)
    }),
    ("repeated with text in front", |parent, at| {
        repeat(parent, at, Json::Text("AAAA".into()), true)
    }),
    ("named in snake case", |parent, at| {
        rename(parent, at, |name| {
            name.chars().fold(String::new(), |mut out, letter| {
                if letter.is_ascii_uppercase() {
                    out.push('_');
                }
                out.push(letter.to_ascii_lowercase());
                out
            })
        })
    }),
    ("named in both cases", |parent, at| {
        let copy = match parent {
            Json::Object(members) => members.get(at)?.clone(),
            _ => return None,
        };
        rename(parent, at, |name| {
            name.replace("Bytes", "_bytes")
                .replace("Id", "_id")
                .replace("Index", "_index")
                .replace("Type", "_type")
                .replace("Proof", "_proof")
        })?;
        if let Json::Object(members) = parent {
            members.push(copy);
        }
        Some(())
    }),
    ("named in capitals", |parent, at| {
        rename(parent, at, str::to_uppercase)
    }),
    ("named otherwise", |parent, at| {
        rename(parent, at, |name| format!("{name}X"))
    }),
    ("beside an unknown member", |parent, _| match parent {
        Json::Object(members) => {
            members.push(("unknownMember".into(), Json::Raw("1".into())));
            Some(())
        }
        _ => None,
    }),
    ("last", |parent, at| match parent {
        Json::Array(items) if at + 1 < items.len() => {
            let item = items.remove(at);
            items.push(item);
            Some(())
        }
        _ => None,
    }),
];

fn repeat(parent: &mut Json, at: usize, value: Json, first: bool) -> Option<()> {
    let Json::Object(members) = parent else {
        return None;
    };
    let name = members.get(at)?.0.clone();
    members.insert(if first { at } else { at + 1 }, (name, value));
    Some(())
}

fn rename(parent: &mut Json, at: usize, name: impl Fn(&str) -> String) -> Option<()> {
    let Json::Object(members) = parent else {
        return None;
    };
    let member = members.get_mut(at)?;
    let new = name(&member.0);
    (new != member.0).then(|| member.0 = new)
}

/// Values of every other type.
fn replacements(value: &Json) -> Vec<(&'static str, Json)> {
    let raw = |text: &str| Json::Raw(text.to_owned());
    let all = [
        ("null", raw("null")),
        ("true", raw("true")),
        ("false", raw("false")),
        ("a number", raw("1")),
        ("zero", raw("0")),
        ("a fraction", raw("1.5")),
        ("an empty array", raw("[]")),
        ("an empty object", raw("{}")),
        ("an empty text", raw("\"\"")),
        ("a text", raw("\"x\"")),
        ("in an array of its own", Json::Array(vec![value.clone()])),
    ];
    all.into_iter()
        .filter(|(_, new)| new.to_text() != value.to_text())
        .collect()
}

/// Forms of a number that stands in a string, as proto3 JSON writes 64 bits.
fn numbers(text: &str) -> Vec<(&'static str, Json)> {
    let number: i64 = text.parse().unwrap_or_default();
    let quoted = |text: String| Json::Text(text);
    vec![
        ("the number itself", Json::Raw(text.to_owned())),
        ("the number as a fraction", Json::Raw(format!("{text}.0"))),
        (
            "the number with an exponent",
            Json::Raw(format!("{text}e0")),
        ),
        ("one more", quoted(number.wrapping_add(1).to_string())),
        ("one less", quoted(number.wrapping_sub(1).to_string())),
        ("negative", quoted(format!("-{number}"))),
        ("plus in front", quoted(format!("+{text}"))),
        ("zeros in front", quoted(format!("00{text}"))),
        ("space in front", quoted(format!(" {text}"))),
        ("space behind", quoted(format!("{text} "))),
        ("underscore inside", quoted(format!("0_{text}"))),
        ("fraction in text", quoted(format!("{text}.0"))),
        ("exponent in text", quoted(format!("{text}e0"))),
        ("hexadecimal", quoted(format!("0x{number:x}"))),
        (
            "other digits",
            quoted(text.replace('0', "\u{660}").replace('1', "\u{661}")),
        ),
        ("largest of 63 bits", quoted(i64::MAX.to_string())),
        ("smallest of 64 bits", quoted(i64::MIN.to_string())),
        ("above 63 bits", quoted("9223372036854775808".into())),
        ("above 64 bits", quoted("18446744073709551616".into())),
        (
            "wrapped around 64 bits",
            quoted((i128::from(number) + (1 << 64)).to_string()),
        ),
    ]
}

/// Texts that look alike or are longer.
fn texts(text: &str) -> Vec<(&'static str, String)> {
    let all = [
        ("capitals", text.to_uppercase()),
        ("small letters", text.to_lowercase()),
        ("space in front", format!(" {text}")),
        ("space behind", format!("{text} ")),
        ("zero behind", format!("{text}\0")),
        ("line feed behind", format!("{text}\n")),
        (
            "a letter that looks alike",
            text.replacen('a', "\u{430}", 1),
        ),
        ("an invisible letter", format!("{text}\u{200b}")),
        ("last letter cut", {
            let mut cut = text.to_owned();
            cut.pop();
            cut
        }),
        ("a letter behind", format!("{text}A")),
    ];
    all.into_iter().filter(|(_, new)| new != text).collect()
}

/// The same bytes in base64 that is not the one of RFC 4648 section 4.
fn spellings(text: &str) -> Vec<(&'static str, String)> {
    let middle = text.len() / 2;
    let inside = |with: &str| {
        let (front, back) = text.split_at_checked(middle).unwrap_or((text, ""));
        format!("{front}{with}{back}")
    };
    let all = [
        ("base64 for URLs", text.replace('+', "-").replace('/', "_")),
        (
            "base64 without padding",
            text.trim_end_matches('=').to_owned(),
        ),
        ("base64 with more padding", format!("{text}=")),
        ("base64 with a line feed inside", inside("\n")),
        ("base64 with a space inside", inside(" ")),
        ("base64 with padding inside", inside("=")),
        ("base64 with a foreign letter inside", inside("!")),
        ("base64 with another bit behind", other_bits(text)),
        (
            "hexadecimal",
            base64::decode(text).map(hex::encode).unwrap_or_default(),
        ),
    ];
    all.into_iter().filter(|(_, new)| new != text).collect()
}

/// Sets a bit that decodes to nothing, behind the last byte.
fn other_bits(text: &str) -> String {
    let letters = text.trim_end_matches('=');
    let padding = text.len() - letters.len();
    let (Some(last), true) = (letters.chars().last(), padding > 0) else {
        return text.to_owned();
    };
    // The letter after one of an even value differs in the lowest bit alone, and that one is unused before padding.
    let next = char::from_u32(u32::from(last) + 1).unwrap_or(last);
    let front = letters.get(..letters.len() - 1).unwrap_or_default();
    format!("{front}{next}{}", "=".repeat(padding))
}

fn at<'a>(document: &'a mut Json, path: &[Step]) -> Option<&'a mut Json> {
    let mut here = document;
    for (position, _) in path {
        here = match here {
            Json::Object(members) => &mut members.get_mut(*position)?.1,
            Json::Array(items) => items.get_mut(*position)?,
            Json::Raw(_) | Json::Text(_) => return None,
        };
    }
    Some(here)
}

/// The value at the same names in another document, whose members may stand elsewhere.
fn by_name<'a>(document: &'a mut Json, path: &[Step]) -> Option<&'a mut Json> {
    let mut here = document;
    for (position, name) in path {
        here = match (here, name) {
            (Json::Object(members), Some(name)) => {
                &mut members.iter_mut().find(|(other, _)| other == name)?.1
            }
            (Json::Array(items), None) => items.get_mut(*position)?,
            _ => return None,
        };
    }
    Some(here)
}

fn shown(path: &[Step]) -> String {
    let mut out = String::new();
    for (position, name) in path {
        match name {
            Some(name) if out.is_empty() => out.push_str(name),
            Some(name) => out.extend([".", name]),
            None => out.push_str(&format!("[{position}]")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] =
        br#"{"logIndex":"17","logId":{"keyId":"AAECAw=="},"hashes":["BAUGBw==","CAkKCw=="]}"#;

    fn made(kind: &str, place: &str) -> String {
        let changes = changes(DOCUMENT, Some(br#"{"logIndex":"18"}"#));
        let change = changes
            .iter()
            .find(|change| change.kind == kind && change.place == place)
            .unwrap_or_else(|| panic!("{kind} at {place}"));
        String::from_utf8(change.make().expect("it applies")).expect("UTF-8")
    }

    #[test]
    fn changes_do_what_they_are_called() {
        for (kind, place, part) in [
            ("removed", "logId.keyId", r#""logId":{}"#),
            (
                "repeated",
                "logIndex",
                r#""logIndex":"17","logIndex":"17"}"#,
            ),
            ("named in snake case", "logIndex", r#""log_index":"17""#),
            ("from another document", "logIndex", r#""logIndex":"18""#),
            ("the number itself", "logIndex", r#""logIndex":17"#),
            ("zeros in front", "logIndex", r#""logIndex":"0017""#),
            ("base64 without padding", "hashes[0]", r#"["BAUGBw","#),
            (
                "base64 with another bit behind",
                "hashes[1]",
                r#""CAkKCx==""#,
            ),
            ("last bit flipped", "logId.keyId", r#""keyId":"AAECAg==""#),
            ("last", "hashes[0]", r#"["CAkKCw==","BAUGBw=="]"#),
            ("letters escaped in capitals", "", r#""\u006BeyId""#),
        ] {
            let document = made(kind, place);
            assert!(document.contains(part), "{kind} at {place}: {document}");
        }
    }

    #[test]
    fn nothing_stays_as_it_was() {
        for change in changes(DOCUMENT, None) {
            if let Some(changed) = change.make() {
                let order = Json::parse(DOCUMENT).expect("JSON").to_text();
                assert_ne!(changed, order.as_bytes(), "{change:?}");
            }
        }
    }
}
