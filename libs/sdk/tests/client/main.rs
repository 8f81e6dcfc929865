//! The client against a small instance of its own: all services in one process, each of which can be made to fail or to lie.

mod faults;
mod flows;
mod instance;
mod profile;
mod tuf;
