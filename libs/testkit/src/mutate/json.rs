//! Changes to JSON documents, and to what their strings hold.

use rand::Rng as _;
use rand::rngs::StdRng;
use sealwright_crypto::base64;

use super::{bytes, der, pick, text};

/// A document that may say what no honest writer says: members twice, numbers of any form.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// Written as it is: numbers, literals, and what is no JSON.
    Raw(String),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in its order; names may be repeated.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Takes a document apart; `None` when the input is no JSON. Members come in the order of their names.
    #[must_use]
    pub fn parse(input: &[u8]) -> Option<Self> {
        serde_json::from_slice(input).ok().map(from_value)
    }

    /// The document, without white space.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        write(self, false, &mut out);
        out
    }
}

/// One change to a value of the document; `None` when the input is no JSON.
pub fn mutate(
    rng: &mut StdRng,
    input: &[u8],
    other: &[u8],
    dictionary: &[&str],
) -> Option<Vec<u8>> {
    let mut document = Json::parse(input)?;
    let donor = Json::parse(other).map(|mut donor| {
        let at = rng.random_range(0..size(&donor));
        let mut at = at;
        nth(&mut donor, &mut at).map_or(Json::Raw("null".into()), |found| found.clone())
    });
    let mut at = rng.random_range(0..size(&document));
    if let Some(value) = nth(&mut document, &mut at) {
        change(rng, value, donor.as_ref(), dictionary);
    }
    let mut out = String::with_capacity(input.len() + 64);
    let spaces = rng.random_ratio(1, 32);
    write(&document, spaces, &mut out);
    Some(out.into_bytes())
}

fn from_value(value: serde_json::Value) -> Json {
    use serde_json::Value;
    match value {
        Value::String(text) => Json::Text(text),
        Value::Array(items) => Json::Array(items.into_iter().map(from_value).collect()),
        Value::Object(members) => Json::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, from_value(value)))
                .collect(),
        ),
        other => Json::Raw(other.to_string()),
    }
}

fn size(json: &Json) -> usize {
    match json {
        Json::Raw(_) | Json::Text(_) => 1,
        Json::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Json::Object(members) => 1 + members.iter().map(|(_, value)| size(value)).sum::<usize>(),
    }
}

fn nth<'a>(json: &'a mut Json, at: &mut usize) -> Option<&'a mut Json> {
    if *at == 0 {
        return Some(json);
    }
    *at -= 1;
    match json {
        Json::Raw(_) | Json::Text(_) => None,
        Json::Array(items) => items.iter_mut().find_map(|item| nth(item, at)),
        Json::Object(members) => members.iter_mut().find_map(|(_, value)| nth(value, at)),
    }
}

/// Numbers and literals at the edges of what readers take.
const EDGES: [&str; 28] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "1.0",
    "1e2",
    "1E400",
    "0.1",
    "4294967296",
    "2147483648",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "[]",
    "{}",
    "\"\"",
    "\"0\"",
    "\"18446744073709551616\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "NaN",
    "01",
];

/// Texts that readers have stumbled over.
const TEXTS: [&str; 12] = [
    "\u{0}",
    "\u{feff}",
    "\u{202e}gnp.exe",
    "e\u{301}",
    "\u{1f510}",
    "\u{2028}",
    "../../etc/passwd",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "0001-01-01T00:00:00Z",
    "2026-02-30T25:61:61+99:99",
    "-----BEGIN CERTIFICATE-----",
];

fn change(rng: &mut StdRng, value: &mut Json, donor: Option<&Json>, dictionary: &[&str]) {
    match (rng.random_range(0..12), &mut *value) {
        (0, _) => *value = Json::Raw(pick(rng, &EDGES).copied().unwrap_or("null").to_owned()),
        (1, _) => *value = Json::Text(pick(rng, &TEXTS).copied().unwrap_or_default().to_owned()),
        (2, _) => {
            if let Some(donor) = donor {
                *value = donor.clone();
            }
        }
        (3, _) => *value = nested(rng, value.clone()),
        (_, Json::Text(text)) => *text = packed(rng, text, dictionary),
        (_, Json::Raw(number)) => *number = near(rng, number),
        (_, Json::Array(items)) => array(rng, items),
        (_, Json::Object(members)) => object(rng, members, donor, dictionary),
    }
}

/// Puts a value into many arrays or objects.
fn nested(rng: &mut StdRng, value: Json) -> Json {
    let levels = 1 << rng.random_range(0..=10);
    let arrays = rng.random();
    // Deep trees are written as text: taking them down again would recurse.
    let mut inner = String::new();
    write(&value, false, &mut inner);
    let (open, close) = if arrays { ("[", "]") } else { ("{\"a\":", "}") };
    Json::Raw(format!(
        "{}{inner}{}",
        open.repeat(levels),
        close.repeat(levels)
    ))
}

fn array(rng: &mut StdRng, items: &mut Vec<Json>) {
    let position = rng.random_range(0..items.len().max(1));
    let Some(item) = items.get(position).cloned() else {
        items.push(Json::Raw("null".into()));
        return;
    };
    match rng.random_range(0..4) {
        0 => {
            items.remove(position);
        }
        1 => items.insert(position, item),
        2 => {
            let with = rng.random_range(0..items.len());
            items.swap(position, with);
        }
        _ => {
            let copies = 1 << rng.random_range(1..=10);
            if size(&item) * copies < 4096 {
                items.splice(position..position, std::iter::repeat_n(item, copies));
            }
        }
    }
}

fn object(
    rng: &mut StdRng,
    members: &mut Vec<(String, Json)>,
    donor: Option<&Json>,
    dictionary: &[&str],
) {
    let position = rng.random_range(0..members.len().max(1));
    let word = pick(rng, dictionary)
        .copied()
        .unwrap_or("unknown")
        .to_owned();
    let fresh = donor.cloned().unwrap_or(Json::Raw("null".into()));
    let Some((name, value)) = members.get(position).cloned() else {
        members.push((word, fresh));
        return;
    };
    match rng.random_range(0..6) {
        0 => {
            members.remove(position);
        }
        1 => members.insert(position, (name, value)),
        2 => members.push((name, fresh)),
        3 => members.push((word, fresh)),
        4 => {
            let renamed = packed(rng, &name, dictionary);
            if let Some(member) = members.get_mut(position) {
                member.0 = renamed;
            }
        }
        _ => {
            let with = rng.random_range(0..members.len());
            members.swap(position, with);
        }
    }
}

fn near(rng: &mut StdRng, number: &str) -> String {
    match number.parse::<i64>() {
        Ok(value) => value.wrapping_add(rng.random_range(-2..=2)).to_string(),
        Err(_) => pick(rng, &EDGES).copied().unwrap_or("0").to_owned(),
    }
}

/// Changes what a string holds: JSON, DER or bytes in either base64, a number, or the text itself.
fn packed(rng: &mut StdRng, string: &str, dictionary: &[&str]) -> String {
    if let Ok(value) = string.parse::<i64>() {
        return value.wrapping_add(rng.random_range(-2..=2)).to_string();
    }
    let standard = base64::decode(string).ok().filter(|_| string.len() >= 8);
    let content = standard.clone().or_else(|| {
        base64::decode_url(string)
            .ok()
            .filter(|_| string.len() >= 8)
    });
    let Some(content) = content.filter(|_| !rng.random_ratio(1, 8)) else {
        return String::from_utf8_lossy(&text::mutate(rng, string.as_bytes(), b"", dictionary))
            .into_owned();
    };
    let changed = if content.first() == Some(&b'{') {
        mutate(rng, &content, &content, dictionary)
    } else {
        der::mutate(rng, &content, &content)
    };
    let changed = changed.unwrap_or_else(|| bytes::mutate(rng, &content, &content, dictionary));
    if standard.is_some() {
        base64::encode(&changed)
    } else {
        base64::encode_url(&changed)
    }
}

fn write(json: &Json, spaces: bool, out: &mut String) {
    let gap = if spaces { " \n" } else { "" };
    match json {
        Json::Raw(raw) => out.push_str(raw),
        Json::Text(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
        Json::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                out.push_str(if position == 0 { gap } else { "," });
                write(item, spaces, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (position, (name, value)) in members.iter().enumerate() {
                out.push_str(if position == 0 { gap } else { "," });
                out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                out.push(':');
                out.push_str(gap);
                write(value, spaces, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn members_come_twice_and_packed_documents_are_changed_inside() {
        let inner = base64::encode(br#"{"kind":"hashedrekord"}"#);
        let document = format!(r#"{{"body":"{inner}","n":5}}"#);
        let mut rng = StdRng::seed_from_u64(4);
        let (mut twice, mut inside) = (0, 0);
        for _ in 0..4000 {
            let changed = mutate(&mut rng, document.as_bytes(), document.as_bytes(), &["n"]);
            let changed = String::from_utf8(changed.expect("JSON")).expect("UTF-8");
            twice += usize::from(changed.matches("\"n\":").count() > 1);
            let body = changed
                .split('"')
                .nth(3)
                .and_then(|body| base64::decode(body).ok());
            inside += usize::from(body.is_some_and(|body| {
                body != br#"{"kind":"hashedrekord"}"#
                    && serde_json::from_slice::<serde_json::Value>(&body).is_ok()
            }));
        }
        assert!(twice > 20 && inside > 200, "{twice} {inside}");
    }
}
