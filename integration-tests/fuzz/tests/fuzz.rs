//! A few seconds of hostile bytes for every parser.

use std::process::Command;

#[test]
fn no_parser_breaks_a_promise() {
    let output = Command::new(env!("CARGO_BIN_EXE_sealwright-fuzz"))
        .arg("run")
        .output()
        .expect("the fuzzer starts");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{said}{complained}");
    assert!(output.status.success(), "{said}{complained}");
    let cases = said.lines().filter(|line| line.contains(" behaviours"));
    assert_eq!(
        cases.count(),
        sealwright_fuzz::targets::ALL.len(),
        "every target ran:\n{said}"
    );
}
