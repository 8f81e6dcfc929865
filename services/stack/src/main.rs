//! `sealwrightd`.

fn main() {}
