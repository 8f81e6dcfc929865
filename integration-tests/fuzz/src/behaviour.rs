//! A short name for what a parser did with an input. An input whose name is new is worth keeping.

/// Longest name that is kept; what differs behind it counts as the same.
const MAX_NAME: usize = 160;

/// Reduces the debug form of a value to what the code decided: identifiers and fixed words stay, numbers and everything
/// that is echoed from the input go.
#[must_use]
pub fn of(value: &impl std::fmt::Debug) -> String {
    reduce(&format!("{value:?}"))
}

fn reduce(debug: &str) -> String {
    let mut name = String::with_capacity(MAX_NAME);
    let mut rest = debug;
    while let Some(character) = rest.chars().next() {
        if name.len() >= MAX_NAME {
            break;
        }
        rest = rest.strip_prefix(character).unwrap_or_default();
        match character {
            '`' => rest = rest.split_once('`').map_or("", |(_, after)| after),
            '"' => {
                let (quoted, after) = quoted(rest);
                if is_fixed_text(quoted) {
                    name.push_str(&reduce(quoted));
                }
                rest = after;
            }
            '\\' => {
                let (_, after) = rest.split_once("\\\"").unwrap_or((rest, ""));
                rest = after;
            }
            c if c.is_ascii_digit() || c.is_whitespace() || c == '-' || c == ',' => {}
            c if c.is_ascii() => name.push(c),
            _ => {}
        }
    }
    name
}

/// What stands before the closing quote, and what follows it.
fn quoted(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => {
                let (inside, after) = text.split_at(at);
                return (inside, after.get(1..).unwrap_or_default());
            }
            _ => escaped = false,
        }
    }
    (text, "")
}

/// Sentences and field names of ours and of the JSON reader; what comes out of a mutated input seldom looks like one.
/// Base64 has no spaces.
fn is_fixed_text(text: &str) -> bool {
    let is_sentence = text.contains(' ');
    let (punctuation, limit) = if is_sentence {
        (" .,:;`'()[]{}_-\\\"/+<>0123456789", 400)
    } else {
        ("._-", 32)
    };
    let fixed = |c: char| c.is_ascii_alphabetic() || punctuation.contains(c);
    text.len() < limit && text.chars().all(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "read through Debug")]
    enum Fault {
        Json(String),
        TooLarge { what: &'static str, size: usize },
    }

    #[test]
    fn what_was_decided_stays_and_what_was_sent_goes() {
        let sent = |name: &str, line: u32| {
            of(&Fault::Json(format!(
                "unknown field `{name}`, expected `a` at line {line}"
            )))
        };
        assert_eq!(sent("x", 1), sent("yy", 22));
        let large = |size| {
            of(&Fault::TooLarge {
                what: "certificate",
                size,
            })
        };
        assert_eq!(large(1), large(70_000));
        assert_ne!(large(1), sent("x", 1));
        assert!(large(1).contains("certificate"));
        assert_eq!(
            of(&Fault::Json("h\u{e9}llo/=".into())),
            of(&Fault::Json("+/+".into()))
        );
    }
}
