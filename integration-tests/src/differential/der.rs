//! Every change to every tag, length and value of a DER document.

use std::sync::Arc;

use sealwright_testkit::mutate::der::{self, Content, Length, Node};

use super::change::Change;

/// A tree that changes are made to, and how it is written afterwards.
type Finish = Arc<dyn Fn(Vec<Node>) -> Option<Vec<u8>> + Send + Sync>;

/// Changes to a document; empty when it is no DER.
pub fn changes(document: &[u8]) -> Vec<Change> {
    let Some(nodes) = der::parse(document) else {
        return Vec::new();
    };
    let mut changes = tree_changes(&nodes, Arc::new(|nodes| Some(der::encode(&nodes))));
    changes.extend(around(document));
    changes
}

/// Changes inside a tree, each written by `finish`.
pub fn tree_changes(nodes: &[Node], finish: Finish) -> Vec<Change> {
    let tree = Arc::new(nodes.to_vec());
    let mut places = Vec::new();
    walk(nodes, &mut Vec::new(), &mut places);
    let mut changes = Vec::new();
    for place in places {
        let name = place
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(".");
        for (kind, edit) in EDITS {
            let (tree, place, finish) = (tree.clone(), place.clone(), finish.clone());
            changes.push(Change::new(kind, name.clone(), move || {
                let mut nodes = tree.to_vec();
                let (last, above) = place.split_last()?;
                edit(siblings(&mut nodes, above)?, *last)?;
                finish(nodes)
            }));
        }
    }
    changes
}

/// Changes that leave the tree as it is: what stands around it.
fn around(document: &[u8]) -> Vec<Change> {
    let document: Arc<[u8]> = document.into();
    let edit = |kind, edit: fn(&[u8]) -> Vec<u8>| {
        let document = document.clone();
        Change::new(kind, "", move || Some(edit(&document)))
    };
    vec![
        edit("bytes behind", |document| [document, &[0]].concat()),
        edit("null behind", |document| [document, &[5, 0]].concat()),
        edit("twice", |document| document.repeat(2)),
        edit("byte before", |document| [&[0], document].concat()),
        edit("last byte cut", |document| {
            document
                .split_last()
                .map_or_else(Vec::new, |(_, rest)| rest.to_vec())
        }),
        edit("half cut", |document| {
            document
                .get(..document.len() / 2)
                .unwrap_or_default()
                .to_vec()
        }),
        edit("empty", |_| Vec::new()),
    ]
}

fn walk(nodes: &[Node], above: &mut Vec<usize>, places: &mut Vec<Vec<usize>>) {
    for (position, node) in nodes.iter().enumerate() {
        above.push(position);
        places.push(above.clone());
        if let Content::Nodes(_, inner) = &node.content {
            walk(inner, above, places);
        }
        above.pop();
    }
}

/// The nodes among which the place is, below those of `above`.
pub fn siblings<'a>(nodes: &'a mut Vec<Node>, above: &[usize]) -> Option<&'a mut Vec<Node>> {
    let mut here = nodes;
    for position in above {
        match &mut here.get_mut(*position)?.content {
            Content::Nodes(_, inner) => here = inner,
            Content::Bytes(_) => return None,
        }
    }
    Some(here)
}

type Edit = fn(&mut Vec<Node>, usize) -> Option<()>;

/// What can be done to a node or to its place among its siblings.
const EDITS: [(&str, Edit); 21] = [
    ("tag with another number", |nodes, at| {
        on(nodes, at, |node| node.tag ^= 0x01)
    }),
    ("tag primitive or constructed", |nodes, at| {
        on(nodes, at, |node| node.tag ^= 0x20)
    }),
    ("tag of another class", |nodes, at| {
        on(nodes, at, |node| node.tag ^= 0x80)
    }),
    ("tag null", |nodes, at| on(nodes, at, |node| node.tag = 5)),
    ("tag of another string", |nodes, at| {
        on(nodes, at, |node| {
            node.tag = if node.tag == 0x0c { 0x16 } else { 0x0c };
        })
    }),
    ("length padded", |nodes, at| {
        on(nodes, at, |node| node.length = Length::Padded(1))
    }),
    ("length indefinite", |nodes, at| {
        on(nodes, at, |node| node.length = Length::Indefinite)
    }),
    ("length one more", |nodes, at| {
        on(nodes, at, |node| node.length = Length::Wrong(1))
    }),
    ("length one less", |nodes, at| {
        on(nodes, at, |node| node.length = Length::Wrong(-1))
    }),
    ("length huge", |nodes, at| {
        on(nodes, at, |node| node.length = Length::Huge(4))
    }),
    ("value with its first bit flipped", |nodes, at| {
        value(nodes, at, |value| flip(value.first_mut(), 0x80))
    }),
    ("value with its last bit flipped", |nodes, at| {
        value(nodes, at, |value| flip(value.last_mut(), 0x01))
    }),
    ("value with a bit flipped inside", |nodes, at| {
        value(nodes, at, |value| {
            let middle = value.len() / 2;
            flip(value.get_mut(middle), 0x10)
        })
    }),
    ("value empty", |nodes, at| {
        value(nodes, at, |value| {
            value.clear();
            Some(())
        })
    }),
    ("value with a zero in front", |nodes, at| {
        value(nodes, at, |value| {
            value.insert(0, 0);
            Some(())
        })
    }),
    ("value with a byte behind", |nodes, at| {
        value(nodes, at, |value| {
            value.push(0);
            Some(())
        })
    }),
    ("value all ones", |nodes, at| {
        value(nodes, at, |value| {
            value.fill(0xff);
            Some(())
        })
    }),
    ("removed", |nodes, at| {
        (at < nodes.len()).then(|| {
            nodes.remove(at);
        })
    }),
    ("doubled", |nodes, at| {
        let copy = nodes.get(at)?.clone();
        nodes.insert(at, copy);
        Some(())
    }),
    ("before its neighbour", |nodes, at| {
        let differ = nodes.get(at)? != nodes.get(at + 1)?;
        differ.then(|| nodes.swap(at, at + 1))
    }),
    ("followed by a null", |nodes, at| {
        let null = Node {
            tag: 5,
            length: Length::Shortest,
            content: Content::Bytes(Vec::new()),
        };
        nodes.insert(at + 1, null);
        Some(())
    }),
];

fn on(nodes: &mut [Node], at: usize, edit: impl Fn(&mut Node)) -> Option<()> {
    nodes.get_mut(at).map(edit)
}

/// Edits the octets of a node that holds no others; `None` for those that do: their nodes are edited themselves.
fn value(nodes: &mut [Node], at: usize, edit: impl Fn(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    match &mut nodes.get_mut(at)?.content {
        Content::Bytes(octets) => edit(octets),
        Content::Nodes(..) => None,
    }
}

fn flip(octet: Option<&mut u8>, bit: u8) -> Option<()> {
    octet.map(|octet| *octet ^= bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_changed_in_every_way_and_nothing_stays_as_it_was() {
        let document = [0x30, 0x08, 0x02, 0x01, 0x05, 0x04, 0x03, 1, 2, 3];
        let changes = changes(&document);
        assert_eq!(changes.len(), 3 * EDITS.len() + 7);
        for change in changes {
            if let Some(changed) = change.make() {
                assert_ne!(changed, document, "{change:?}");
            }
        }
    }

    #[test]
    fn lengths_lie_as_their_names_say() {
        let made = |kind| {
            let changes = changes(&[0x04, 0x01, 0x07]);
            let change = changes.iter().find(|change| change.kind == kind);
            change.and_then(Change::make).expect(kind)
        };
        assert_eq!(made("length padded"), [0x04, 0x82, 0x00, 0x01, 0x07]);
        assert_eq!(made("length one more"), [0x04, 0x02, 0x07]);
        assert_eq!(made("followed by a null"), [0x04, 0x01, 0x07, 0x05, 0x00]);
        assert_eq!(made("bytes behind"), [0x04, 0x01, 0x07, 0x00]);
    }
}
