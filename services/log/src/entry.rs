//! What becomes an entry: admission, one file a kind of log. Pure: bytes in, an entry or a refusal out.

pub mod ct;
pub mod rekor;
