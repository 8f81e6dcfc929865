//! Logins at a provider of our own making.
