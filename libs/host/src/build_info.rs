//! Which build this is: shown by `--version`, `/healthz` never, the `build_info` metric always.

/// The workspace version, e.g. `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
