//! What every Sealwright server shares: the clock, configuration, errors on the wire, the listener and its limits,
//! health, telemetry, metrics, files that are written whole, and the embedded database.
//!
//! This crate knows nothing of certificates, logs or tokens. A service brings an [`axum::Router`] (its HTTP routes and
//! its gRPC services merged), its [`health::Check`]s and its [`metrics::Registry`] entries; [`run::Server`] gives it one
//! port for HTTP/JSON and gRPC, bounded in every dimension an outsider can push, and a drain that ends in time.
//!
//! Ambient time is read here ([`clock::SystemClock`]) and nowhere else in a server.

pub mod build_info;
pub mod clock;
pub mod config;
pub mod db;
pub mod file;
pub mod grpc;
pub mod health;
pub mod http;
pub mod metrics;
pub mod peers;
pub mod reason;
pub mod run;
pub mod status;
pub mod telemetry;
pub mod tls;

pub use clock::{Clock, SharedClock};
pub use reason::Reason;
pub use status::ServiceError;
