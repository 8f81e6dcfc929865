//! Bugs that the histories found, each told once more by itself.
