//! Delegations: which other role may speak for which target paths (specification section 4.5).

use std::collections::{BTreeMap, BTreeSet};

use sealwright_crypto::sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Problem;
use crate::key::{Key, KeyId};
use crate::metadata::{Role, RoleKeys};

/// The delegations of one targets role: named roles, or a whole family of bins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// The keys of the delegated roles.
    pub keys: BTreeMap<KeyId, Key>,
    /// Named roles, in the order in which a search visits them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<DelegatedRole>>,
    /// Bins that share their keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succinct_roles: Option<SuccinctRoles>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One delegated role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name, unique among its siblings and not that of a top-level role.
    pub name: String,
    /// Keys that may sign for it.
    pub keyids: Vec<KeyId>,
    /// How many must.
    pub threshold: u32,
    /// Whether a search that enters this role stops looking in its later siblings.
    pub terminating: bool,
    /// Shell-style patterns of the paths it may speak for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Or: hex prefixes of the SHA-256 of those paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// 2^`bit_length` bins with the same keys; a path belongs to the bin named by the first bits of its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccinctRoles {
    /// Keys that may sign for every bin.
    pub keyids: Vec<KeyId>,
    /// How many must.
    pub threshold: u32,
    /// Number of bits, 1 to 32.
    pub bit_length: u32,
    /// Bin names are `<name_prefix>-<number in hex>`.
    pub name_prefix: String,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A role that a delegation leads to for one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) role: String,
    pub(crate) keys: RoleKeys,
    pub(crate) terminating: bool,
}

impl Delegations {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match (&self.roles, &self.succinct_roles) {
            (Some(roles), None) => check_roles(roles),
            (None, Some(bins)) => bins.check(),
            _ => Err(Problem::ExactlyOne(
                "delegations must have exactly one of roles and succinct_roles",
            )),
        }
    }

    /// The roles that may speak for `path`, in order of search.
    pub(crate) fn leads(&self, path: &str) -> Vec<Lead> {
        if let Some(bins) = &self.succinct_roles {
            return vec![bins.lead(path)];
        }
        let roles = self.roles.iter().flatten();
        roles
            .filter(|role| role.speaks_for(path))
            .map(DelegatedRole::lead)
            .collect()
    }
}

fn check_roles(roles: &[DelegatedRole]) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    for role in roles {
        role.check()?;
        if !names.insert(&role.name) {
            return Err(Problem::DelegatedName(role.name.clone()));
        }
    }
    Ok(())
}

impl DelegatedRole {
    /// Whether the role may speak for `path`.
    #[must_use]
    pub fn speaks_for(&self, path: &str) -> bool {
        if let Some(prefixes) = &self.path_hash_prefixes {
            let hash = hex::encode(sha256(path.as_bytes()));
            return prefixes.iter().any(|prefix| hash.starts_with(prefix));
        }
        let patterns = self.paths.iter().flatten();
        patterns.into_iter().any(|pattern| matches(pattern, path))
    }

    fn lead(&self) -> Lead {
        Lead {
            role: self.name.clone(),
            keys: self.role_keys(),
            terminating: self.terminating,
        }
    }

    fn role_keys(&self) -> RoleKeys {
        role_keys(&self.keyids, self.threshold)
    }

    fn check(&self) -> Result<(), Problem> {
        let reserved = Role::ALL.iter().any(|role| role.name() == self.name);
        if self.name.is_empty() || reserved {
            return Err(Problem::DelegatedName(self.name.clone()));
        }
        if self.paths.is_some() == self.path_hash_prefixes.is_some() {
            return Err(Problem::ExactlyOne(
                "a delegated role must have exactly one of paths and path_hash_prefixes",
            ));
        }
        self.role_keys().check(&self.name)
    }
}

impl SuccinctRoles {
    /// The bin that speaks for `path`.
    #[must_use]
    pub fn bin_of(&self, path: &str) -> String {
        let [a, b, c, d, ..] = sha256(path.as_bytes());
        let bits = self.bit_length.clamp(1, 32);
        let bin = u32::from_be_bytes([a, b, c, d]) >> (32 - bits);
        let digits = bits.div_ceil(4) as usize;
        format!("{}-{bin:0digits$x}", self.name_prefix)
    }

    fn lead(&self, path: &str) -> Lead {
        Lead {
            role: self.bin_of(path),
            keys: self.role_keys(),
            terminating: false,
        }
    }

    fn role_keys(&self) -> RoleKeys {
        role_keys(&self.keyids, self.threshold)
    }

    fn check(&self) -> Result<(), Problem> {
        if !(1..=32).contains(&self.bit_length) {
            return Err(Problem::BitLength(self.bit_length));
        }
        self.role_keys().check(&self.name_prefix)
    }
}

fn role_keys(keyids: &[KeyId], threshold: u32) -> RoleKeys {
    RoleKeys {
        keyids: keyids.to_vec(),
        threshold,
        extra: Map::new(),
    }
}

/// Shell-style matching of whole paths: `*` stands for any run of characters and `?` for one, neither crosses a `/`,
/// everything else (brackets too) stands for itself.
fn matches(pattern: &str, path: &str) -> bool {
    let patterns: Vec<&str> = pattern.split('/').collect();
    let segments: Vec<&str> = path.split('/').collect();
    patterns.len() == segments.len()
        && patterns
            .iter()
            .zip(&segments)
            .all(|(pattern, segment)| matches_segment(pattern, segment))
}

/// Greedy matching with one point of return, linear in practice and at most `pattern * segment` steps, so that a
/// hostile pattern cannot buy exponential time.
fn matches_segment(pattern: &str, segment: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let segment: Vec<char> = segment.chars().collect();
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&found) = segment.get(s) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, s));
                p += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == found => {
                p += 1;
                s += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    s = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_inside_a_segment() {
        for (pattern, path, expected) in [
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*", "", true),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-10.tgz", false),
            ("?", "/", false),
            ("releases/*/*", "releases/x/y", true),
            ("releases/*", "releases/x/y", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("README.MD", "README.md", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("caf?", "caf\u{e9}", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_are_cheap() {
        let pattern = "*a".repeat(60);
        let path = "a".repeat(4_000) + "b";
        assert!(!matches(&pattern, &path));
    }

    #[test]
    fn bins_are_named_by_the_first_bits_of_the_hash() {
        let bins = |bit_length| SuccinctRoles {
            keyids: vec![],
            threshold: 1,
            bit_length,
            name_prefix: "bin".to_owned(),
            extra: Map::new(),
        };
        // SHA-256("file") begins 3b9c358f.
        assert_eq!(bins(1).bin_of("file"), "bin-0");
        assert_eq!(bins(4).bin_of("file"), "bin-3");
        assert_eq!(bins(5).bin_of("file"), "bin-07");
        assert_eq!(bins(32).bin_of("file"), "bin-3b9c358f");
        // SHA-256("a") begins ca978112.
        assert_eq!(bins(1).bin_of("a"), "bin-1");
        assert_eq!(bins(2).bin_of("a"), "bin-3");
        // Metadata with other lengths is refused; whoever asks all the same gets the nearest.
        assert_eq!(bins(0).bin_of("a"), "bin-1");
        assert_eq!(bins(33).bin_of("a"), "bin-ca978112");
    }

    /// The definition, by trying everything.
    fn naive(pattern: &[char], segment: &[char]) -> bool {
        match (pattern.split_first(), segment.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                (0..=segment.len()).any(|taken| naive(rest, &segment[taken..]))
            }
            (Some((wanted, pattern)), Some((found, segment))) => {
                (*wanted == '?' || wanted == found) && naive(pattern, segment)
            }
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn matching_is_what_its_definition_says(pattern in "[ab*?]{0,8}", segment in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            proptest::prop_assert_eq!(
                matches(&pattern, &segment),
                naive(&chars(&pattern), &chars(&segment))
            );
        }
    }
}
