//! `sealwright`.

fn main() {}
