//! Who is one and the same when thresholds are counted.
//!
//! A threshold asks for so many that would all have to be dishonest. The trusted root says who runs what, but one key in it
//! under two names is still one key: whoever holds it signs for both. So those that share a name or a key are one party.

use std::collections::BTreeSet;

/// Somebody who vouches: a name that tells operators (or logs) apart, and the key that signed, as SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Party<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a [u8],
}

/// How many parties these are, at most one for each name and for each key.
pub(crate) fn distinct<'a>(parties: impl IntoIterator<Item = Party<'a>>) -> usize {
    let mut groups: Vec<(BTreeSet<&str>, BTreeSet<&[u8]>)> = Vec::new();
    for party in parties {
        let mut own = (BTreeSet::from([party.name]), BTreeSet::from([party.key]));
        groups.retain(|(names, keys)| {
            let same = names.contains(party.name) || keys.contains(party.key);
            if same {
                own.0.extend(names);
                own.1.extend(keys);
            }
            !same
        });
        groups.push(own);
    }
    groups.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(parties: &[(&str, &[u8])]) -> usize {
        distinct(parties.iter().map(|(name, key)| Party { name, key }))
    }

    #[test]
    fn a_shared_name_or_key_makes_one_party() {
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[("a", b"1"), ("b", b"2"), ("c", b"3")]), 3);
        assert_eq!(count(&[("a", b"1"), ("a", b"2")]), 1);
        assert_eq!(count(&[("a", b"1"), ("b", b"1")]), 1);
        assert_eq!(count(&[("a", b"1"), ("b", b"1"), ("c", b"3")]), 2);
    }

    #[test]
    fn what_is_shared_joins_in_any_order() {
        let all: [(&str, &[u8]); 4] = [("a", b"1"), ("b", b"2"), ("a", b"2"), ("c", b"3")];
        for turn in 0..all.len() {
            let mut turned = all;
            turned.rotate_left(turn);
            assert_eq!(count(&turned), 2, "{turned:?}");
            turned.reverse();
            assert_eq!(count(&turned), 2, "{turned:?}");
        }
    }
}
