//! All ASN.1 of the stack.

pub mod timestamp;
