//! The assembly.
mod console;
pub mod endpoints;
pub mod error;
mod files;
pub mod keys;
pub mod place;
mod settings;
