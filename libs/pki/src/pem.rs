//! PEM (RFC 7468), as tolerant as the files people have and no more: text before and after a block, CRLF, any line
//! length. Headers inside a block (encrypted keys) are not base64 and are refused.

use crate::error::{Error, PemFault};

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The label, e.g. `CERTIFICATE`.
    pub label: String,
    /// The bytes.
    pub contents: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Reads all blocks of `text`, at most `limit`. No block at all is an error.
pub fn parse(text: &str, limit: usize) -> Result<Vec<Block>, Error> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, BEGIN) else {
            continue;
        };
        if blocks.len() == limit {
            return Err(Error::Pem(PemFault::TooMany { limit }));
        }
        blocks.push(parse_block(label, &mut lines)?);
    }
    if blocks.is_empty() {
        Err(Error::Pem(PemFault::NoBlock))
    } else {
        Ok(blocks)
    }
}

/// Reads text that has exactly one block, with one of the `labels`; `accepted` names them in the message.
pub fn parse_one(text: &str, labels: &[&str], accepted: &'static str) -> Result<Vec<u8>, Error> {
    let mut blocks = parse(text, 1)?;
    let block = blocks.pop().ok_or(Error::Pem(PemFault::NoBlock))?;
    if labels.contains(&block.label.as_str()) {
        Ok(block.contents)
    } else {
        Err(label_fault(&block.label, accepted))
    }
}

pub(crate) fn label_fault(found: &str, accepted: &'static str) -> Error {
    Error::Pem(PemFault::Label {
        found: found.chars().take(64).collect(),
        accepted,
    })
}

fn parse_block(label: &str, lines: &mut std::str::Lines<'_>) -> Result<Block, Error> {
    let mut base64 = String::new();
    for line in lines {
        if let Some(end) = boundary(line, END) {
            if end != label {
                return Err(Error::Pem(PemFault::Unterminated));
            }
            let contents = sealwright_crypto::base64::decode(&base64)
                .map_err(|_| Error::Pem(PemFault::Base64))?;
            return Ok(Block {
                label: label.to_owned(),
                contents,
            });
        }
        base64.extend(line.chars().filter(|c| !c.is_ascii_whitespace()));
    }
    Err(Error::Pem(PemFault::Unterminated))
}

fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.strip_suffix(DASHES)
}

/// Writes one block, lines of 64 characters, with a newline at the end.
pub fn encode(label: &str, contents: &[u8]) -> String {
    let base64 = sealwright_crypto::base64::encode(contents);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}
