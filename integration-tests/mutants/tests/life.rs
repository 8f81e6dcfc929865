//! The tool on a small crate with a weak test, from the first survivor to a clean run.

use std::fs;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = r#"//! A crate with one careful reader and one careless test.

/// Whether `value` is below `limit`.
pub fn is_inside(value: u8, limit: u8) -> bool {
    value < limit
}

/// Counts to `limit`; with a broken step it never ends.
pub fn count_to(limit: u64) -> u64 {
    let mut at = u64::MIN;
    while at != limit {
        at += 1;
    }
    at
}

/// Joins; `-` would not compile.
pub fn joined(mut name: String) -> String {
    name = name + "!";
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_is_the_limit() {
        assert!(is_inside(1, 5));
        assert!(!is_inside(9, 5));
        // MORE
    }

    #[test]
    fn counting_ends() {
        assert_eq!(count_to(3), 3);
    }
}
"#;

const MANIFEST: &str = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
const SURVIVOR: &str = "in is_inside: `value < limit`: `<` becomes `<=`";
const UNREACHED: &str = "in joined: the body becomes `return Default::default()`";
const EXPLAINED: &str = r#"
[[survivor]]
crate = "small"
file = "src/lib.rs"
function = "joined"
mutation = "the body becomes `return Default::default()`"
reason = "no test calls this function, which is what this example is about"
"#;

struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Self(folder);
        workspace.write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"libs/small\"]\nresolver = \"3\"\n",
        );
        workspace.write("libs/small/Cargo.toml", MANIFEST);
        workspace.write("libs/small/src/lib.rs", SOURCE);
        workspace
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Runs the tool: whether it is content, and what it says.
    fn run(&self) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_sealwright-mutants"))
            .args([
                "--crate",
                "small",
                "--explained",
                "explained.toml",
                "--seconds",
                "1",
            ])
            .arg("--workspace")
            .arg(self.path())
            .output()
            .expect("the tool runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8(said).expect("text"),
        )
    }
}

#[test]
fn a_survivor_is_named_until_a_test_kills_it_or_a_reason_explains_it() {
    let workspace = Workspace::new();
    let (clean, said) = workspace.run();
    assert!(!clean, "{said}");
    assert!(
        said.contains(&format!("SURVIVED  src/lib.rs:5:11 {SURVIVOR}")),
        "{said}"
    );
    assert!(
        said.contains(&format!("UNREACHED src/lib.rs:18:8 {UNREACHED}")),
        "{said}"
    );
    assert!(said.contains("1 more do not compile"), "{said}");
    assert!(!said.contains("0 stopped by their limits"), "{said}");
    assert!(
        !said.contains("in is_inside: `value < limit`: `<` becomes `>=`"),
        "{said}"
    );
    let untouched = fs::read_to_string(workspace.path().join("libs/small/src/lib.rs"));
    assert_eq!(untouched.expect("the source"), SOURCE);

    let stronger = SOURCE.replace("// MORE", "assert!(!is_inside(5, 5));");
    workspace.write("libs/small/src/lib.rs", &stronger);
    let (clean, said) = workspace.run();
    assert!(!clean, "the other one still lives: {said}");
    assert!(
        !said.contains(SURVIVOR) && said.contains(UNREACHED),
        "{said}"
    );
    assert!(!said.contains(" 0 known from earlier"), "{said}");

    workspace.write("explained.toml", EXPLAINED);
    let (clean, said) = workspace.run();
    assert!(clean, "{said}");
    assert!(said.contains(" 1 explained, 0 alive"), "{said}");

    let stale = EXPLAINED.replace("`return Default::default()`", "`return None`");
    workspace.write("explained.toml", &format!("{EXPLAINED}{stale}"));
    let (clean, said) = workspace.run();
    assert!(!clean && said.contains("STALE"), "{said}");

    let idle = EXPLAINED.replace(
        "no test calls this function, which is what this example is about",
        "because",
    );
    workspace.write("explained.toml", &idle);
    let (clean, said) = workspace.run();
    assert!(!clean && said.contains("has no reason"), "{said}");
}

#[test]
fn a_crate_whose_tests_fail_without_a_mutant_is_not_judged() {
    let workspace = Workspace::new();
    let red = SOURCE.replace("// MORE", "assert!(is_inside(5, 5));");
    workspace.write("libs/small/src/lib.rs", &red);
    let (clean, said) = workspace.run();
    assert!(
        !clean && said.contains("five_is_the_limit fails without a mutant"),
        "{said}"
    );
}
