//! How role and target names become file names and URL paths (specification sections 3 and 6).

/// Percent-encodes every byte except letters, digits and `_ . - ~`, so that a role called `../x` is one harmless
/// path segment.
#[must_use]
pub fn percent_encode(name: &str) -> String {
    encode_keeping(name, b"")
}

/// The file of a role, without a version: `targets.json`. This is the name in a snapshot's `meta` once decoded, and
/// the name under which a client stores the role.
#[must_use]
pub fn file_name(role: &str) -> String {
    format!("{}.json", percent_encode(role))
}

/// The file of one version of a role: `3.targets.json`.
#[must_use]
pub fn versioned_file_name(version: u64, role: &str) -> String {
    format!("{version}.{}.json", percent_encode(role))
}

/// The URL path of a target, relative to the base of the targets: `dir/<hash>.name` when `hash` is given, and the
/// path itself when it is not. Slashes stay; every other reserved byte is percent-encoded.
#[must_use]
pub fn target_file_name(path: &str, hash: Option<&str>) -> String {
    let Some(hash) = hash else {
        return encode_keeping(path, b"/");
    };
    let (hash, path) = (percent_encode(hash), encode_keeping(path, b"/"));
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{hash}.{name}"),
        None => format!("{hash}.{path}"),
    }
}

fn encode_keeping(name: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_one_path_segment() {
        assert_eq!(versioned_file_name(1, "../x"), "1...%2Fx.json");
        assert_eq!(versioned_file_name(7, "oci/reg"), "7.oci%2Freg.json");
        assert_eq!(file_name("?#\u{e9}"), "%3F%23%C3%A9.json");
        assert_eq!(file_name("targets"), "targets.json");
    }

    #[test]
    fn the_hash_goes_before_the_last_segment() {
        assert_eq!(
            target_file_name("a/b c.txt", Some("00ff")),
            "a/00ff.b%20c.txt"
        );
        assert_eq!(
            target_file_name("trusted_root.json", Some("00")),
            "00.trusted_root.json"
        );
        assert_eq!(target_file_name("a/b", None), "a/b");
        assert_eq!(
            target_file_name("a/b", Some("../../c")),
            "a/..%2F..%2Fc.b",
            "a hash is text of whoever signed, and stays in the segment"
        );
    }
}
