//! One change to an input: what it is called, where it is, and how it is made.

use std::fmt;

use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};

type Make = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// A change that is made when it is wanted: there are many more than any run looks at.
pub struct Change {
    /// What is changed: a layer of the bundle, such as `certificate`.
    pub layer: &'static str,
    /// How, such as `length padded`.
    pub kind: &'static str,
    /// The path to it.
    pub place: String,
    make: Make,
}

impl Change {
    /// A change to the layer that its maker works on.
    pub fn new(
        kind: &'static str,
        place: impl Into<String>,
        make: impl Fn() -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            layer: "",
            kind,
            place: place.into(),
            make: Box::new(make),
        }
    }

    /// The changed input; `None` when the change does not apply here.
    pub fn make(&self) -> Option<Vec<u8>> {
        (self.make)()
    }

    /// The same change seen from a layer above: `wrap` puts the changed part back where it was.
    pub fn within(
        self,
        layer: &'static str,
        place: &str,
        wrap: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let make = self.make;
        Self {
            layer: if self.layer.is_empty() {
                layer
            } else {
                self.layer
            },
            kind: self.kind,
            place: match (place, self.place.as_str()) {
                ("", inner) => inner.to_owned(),
                (outer, "") => outer.to_owned(),
                (outer, inner) => format!("{outer} > {inner}"),
            },
            make: Box::new(move || wrap(make()?)),
        }
    }

    /// Layer and kind, as the table of reasons names a class of changes.
    pub fn class(&self) -> String {
        format!("{}: {}", self.layer, self.kind)
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.class(), self.place)
    }
}

/// At most `count` of the changes, the same for the same seed, and some of every class before many of any.
pub fn sample(changes: Vec<Change>, count: usize, seed: u64) -> Vec<Change> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut classes: std::collections::BTreeMap<String, Vec<Change>> =
        std::collections::BTreeMap::new();
    for change in changes {
        classes.entry(change.class()).or_default().push(change);
    }
    for members in classes.values_mut() {
        members.shuffle(&mut rng);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && !classes.is_empty() {
        classes.retain(|_, members| {
            chosen.extend(members.pop());
            !members.is_empty()
        });
    }
    chosen.truncate(count);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(kind: &'static str, count: usize) -> impl Iterator<Item = Change> {
        (0..count).map(move |number| Change::new(kind, number.to_string(), || None))
    }

    #[test]
    fn a_sample_has_every_class_and_is_the_same_again() {
        let all = || {
            many("rare", 2)
                .chain(many("usual", 500))
                .collect::<Vec<_>>()
        };
        let chosen = sample(all(), 20, 7);
        let places =
            |chosen: &[Change]| chosen.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>();
        assert_eq!(chosen.len(), 20);
        assert_eq!(chosen.iter().filter(|c| c.kind == "rare").count(), 2);
        assert_eq!(places(&chosen), places(&sample(all(), 20, 7)));
        assert_ne!(places(&chosen), places(&sample(all(), 20, 8)));
    }

    #[test]
    fn a_change_keeps_its_own_layer_when_it_is_wrapped_again() {
        let inner = Change::new("flipped", "serial", || Some(vec![1]));
        let outer = inner
            .within("certificate", "rawBytes", |bytes| {
                Some([bytes, vec![2]].concat())
            })
            .within("bundle", "", Some);
        assert_eq!(outer.class(), "certificate: flipped");
        assert_eq!(outer.place, "rawBytes > serial");
        assert_eq!(outer.make(), Some(vec![1, 2]));
    }
}
