//! Changes to trees of tag, length and value.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{bytes, pick};

/// Trees deeper than this are not taken apart.
const MAX_DEPTH: usize = 48;

/// How the length of a node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As DER wants it.
    Shortest,
    /// In more octets than needed.
    Padded(u8),
    /// `80`, and two zero octets behind.
    Indefinite,
    /// Off by this much.
    Wrong(i8),
    /// A length of this many octets `ff`.
    Huge(u8),
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Octets that are not taken apart.
    Bytes(Vec<u8>),
    /// Octets in front (the count of unused bits of a BIT STRING), and nodes.
    Nodes(Vec<u8>, Vec<Node>),
}

/// Tag, length and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The tag's octet.
    pub tag: u8,
    /// How the length is written.
    pub length: Length,
    /// The value.
    pub content: Content,
}

/// Takes DER apart; `None` when something is left over or nothing is there.
///
/// OCTET STRINGs and BIT STRINGs that hold DER are taken apart as well.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Vec<Node>> {
    read_all(bytes, 0)
}

/// Writes nodes one after the other, lengths as each says.
#[must_use]
pub fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    nodes.iter().for_each(|node| write(node, &mut out));
    out
}

/// One change to a node of the tree; `None` when the input is no tree.
pub fn mutate(rng: &mut StdRng, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut nodes = read_all(input, 0)?;
    let total = nodes.iter().map(size).sum::<usize>();
    let mut at = rng.random_range(0..total.max(1));
    let donor = donor(rng, other);
    change_at(rng, &mut nodes, &mut at, donor.as_ref());
    Some(encode(&nodes))
}

/// Reads nodes until the end; `None` when there is none or something is left over.
fn read_all(mut bytes: &[u8], depth: usize) -> Option<Vec<Node>> {
    if depth > MAX_DEPTH || bytes.is_empty() {
        return None;
    }
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        let (node, rest) = read(bytes, depth)?;
        nodes.push(node);
        bytes = rest;
    }
    Some(nodes)
}

fn read(bytes: &[u8], depth: usize) -> Option<(Node, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let value = octets
                .iter()
                .fold(0, |sum, octet| (sum << 8) | usize::from(*octet));
            (value, rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    let node = Node {
        tag,
        length: Length::Shortest,
        content: content(tag, value, depth),
    };
    Some((node, rest))
}

/// Constructed values, and what OCTET STRING and BIT STRING hold when it is DER itself.
fn content(tag: u8, value: &[u8], depth: usize) -> Content {
    let (head, inner) = match (tag, value.split_first()) {
        (3, Some((0, inner))) => (vec![0], inner),
        (4, _) => (Vec::new(), value),
        (constructed, _) if constructed & 0x20 != 0 => (Vec::new(), value),
        _ => return Content::Bytes(value.to_vec()),
    };
    match read_all(inner, depth + 1) {
        Some(nodes) => Content::Nodes(head, nodes),
        None => Content::Bytes(value.to_vec()),
    }
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Bytes(_) => 1,
        Content::Nodes(_, nodes) => 1 + nodes.iter().map(size).sum::<usize>(),
    }
}

/// A node of another input.
fn donor(rng: &mut StdRng, other: &[u8]) -> Option<Node> {
    let mut nodes = read_all(other, 0)?;
    for _ in 0..rng.random_range(0..8) {
        match &pick(rng, &nodes)?.content {
            Content::Nodes(_, inner) if !inner.is_empty() => nodes = inner.clone(),
            _ => break,
        }
    }
    pick(rng, &nodes).cloned()
}

/// Finds the node with number `at`, counted in order, and changes it or its place among its siblings.
fn change_at(rng: &mut StdRng, nodes: &mut Vec<Node>, at: &mut usize, donor: Option<&Node>) {
    for position in 0..nodes.len() {
        if *at == 0 {
            *at = usize::MAX;
            change(rng, nodes, position, donor);
            return;
        }
        *at -= 1;
        if let Some(Node {
            content: Content::Nodes(_, inner),
            ..
        }) = nodes.get_mut(position)
        {
            change_at(rng, inner, at, donor);
            if *at == usize::MAX {
                return;
            }
        }
    }
}

fn change(rng: &mut StdRng, siblings: &mut Vec<Node>, position: usize, donor: Option<&Node>) {
    let kind = rng.random_range(0..16);
    let Some(node) = siblings.get_mut(position) else {
        return;
    };
    match kind {
        0 => node.tag = rng.random(),
        1 => {
            let tags = [
                0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x1f, 0x30, 0x31, 0x80,
                0xa0, 0xa3,
            ];
            node.tag = pick(rng, &tags).copied().unwrap_or(0x30);
        }
        2 => node.length = Length::Padded(rng.random_range(1..=5)),
        3 => node.length = Length::Indefinite,
        4 => node.length = Length::Wrong(rng.random_range(-3..=3)),
        5 => node.length = Length::Huge(rng.random_range(1..=9)),
        6 => {
            siblings.remove(position);
        }
        7 => {
            let copy = node.clone();
            siblings.insert(position, copy);
        }
        8 => {
            let with = rng.random_range(0..siblings.len());
            siblings.swap(position, with);
        }
        9 => nest(rng, node),
        10 | 11 => {
            if let Some(donor) = donor {
                *node = donor.clone();
            }
        }
        12 if rng.random_ratio(1, 8) => {
            let copies = 1 << rng.random_range(1..=12);
            let total = size(node).max(32) * copies;
            if total < 1 << 18 {
                let copy = node.clone();
                siblings.splice(position..position, std::iter::repeat_n(copy, copies));
            }
        }
        _ => value(rng, node),
    }
}

/// Puts a node into many others.
fn nest(rng: &mut StdRng, node: &mut Node) {
    let levels = 1 << rng.random_range(0..=9);
    let mut inner = Vec::new();
    write(node, &mut inner);
    for _ in 0..levels {
        let mut outer = Vec::new();
        let wrapped = Node {
            tag: node.tag | 0x20,
            length: Length::Shortest,
            content: Content::Bytes(inner),
        };
        write(&wrapped, &mut outer);
        inner = outer;
    }
    node.tag |= 0x20;
    node.content = Content::Bytes(inner);
}

fn value(rng: &mut StdRng, node: &mut Node) {
    let mut old = Vec::new();
    match &node.content {
        Content::Bytes(value) => old.clone_from(value),
        Content::Nodes(head, nodes) => {
            old.clone_from(head);
            nodes.iter().for_each(|inner| write(inner, &mut old));
        }
    }
    let edges: [&[u8]; 10] = [
        &[],
        &[0],
        &[1],
        &[0x7f],
        &[0x80],
        &[0xff],
        &[0, 0x80],
        &[0xff, 0x7f],
        &[0xff; 9],
        b"99991231235959Z",
    ];
    let new = match rng.random_range(0..4) {
        0 => pick(rng, &edges).map_or_else(Vec::new, |edge| edge.to_vec()),
        _ => bytes::mutate(
            rng,
            &old,
            &old,
            &["\u{0}", "@", ".", "Z", "+0000", "\u{202e}"],
        ),
    };
    node.content = Content::Bytes(new);
}

fn write(node: &Node, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    match &node.content {
        Content::Bytes(value) => content.clone_from(value),
        Content::Nodes(head, nodes) => {
            content.clone_from(head);
            nodes.iter().for_each(|inner| write(inner, &mut content));
        }
    }
    out.push(node.tag);
    match node.length {
        Length::Shortest => put_length(content.len(), 0, out),
        Length::Padded(zeros) => put_length(content.len(), zeros, out),
        Length::Indefinite => out.push(0x80),
        Length::Wrong(by) => put_length(content.len().saturating_add_signed(by.into()), 0, out),
        Length::Huge(octets) => {
            out.push(0x80 | octets);
            out.extend(std::iter::repeat_n(0xff, octets.into()));
        }
    }
    out.extend_from_slice(&content);
    if node.length == Length::Indefinite {
        out.extend_from_slice(&[0, 0]);
    }
}

fn put_length(length: usize, zeros: u8, out: &mut Vec<u8>) {
    let octets: Vec<u8> = length
        .to_be_bytes()
        .into_iter()
        .skip_while(|octet| *octet == 0)
        .collect();
    match octets.as_slice() {
        [] if zeros == 0 => out.push(0),
        [short] if zeros == 0 && *short < 0x80 => out.push(*short),
        _ => {
            // A usize has at most eight octets, and five zeros come in front at most.
            let count = u8::try_from(octets.len()).unwrap_or(8) + zeros;
            out.push(0x80 | count);
            out.extend(std::iter::repeat_n(0, zeros.into()));
            out.extend_from_slice(&octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        let tree = [
            0x30, 0x0c, 0x03, 0x04, 0x00, 0x02, 0x01, 0x05, 0x04, 0x04, 0x31, 0x02, 0x05, 0x00,
        ];
        let nodes = read_all(&tree, 0).expect("a tree");
        assert_eq!(
            nodes.iter().map(size).sum::<usize>(),
            6,
            "what is packed is taken apart"
        );
        assert_eq!(encode(&nodes), tree);
    }

    #[test]
    fn most_changes_leave_a_tree() {
        let tree = [0x30, 0x08, 0x02, 0x01, 0x05, 0x04, 0x03, 1, 2, 3];
        let mut rng = StdRng::seed_from_u64(3);
        let trees = (0..1000)
            .filter_map(|_| mutate(&mut rng, &tree, &tree))
            .filter(|changed| read_all(changed, 0).is_some())
            .count();
        assert!(trees > 600, "{trees} of 1000");
    }
}
