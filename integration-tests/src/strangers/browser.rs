//! A browser for clients that open one: it follows redirects over plain HTTP and shows nothing.
//!
//! With `sealwrightd dev --login EMAIL` the provider approves at once, so the whole login is a chain of redirects that
//! ends at the client's own loopback address.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::{Tool, binary};

/// The names that clients look for on the search path.
const NAMES: [&str; 3] = ["xdg-open", "x-www-browser", "www-browser"];

/// Gives a client our browser: through the variable BROWSER, and on the search path under the names that desktops use.
pub fn with_browser(tool: Tool, home: &Path) -> anyhow::Result<Tool> {
    let folder = home.join("browser");
    fs::create_dir_all(&folder)?;
    let program = binary("browser");
    for name in NAMES {
        let link = folder.join(name);
        if !link.exists() {
            symlink(&program, &link)?;
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![folder];
    folders.extend(std::env::split_paths(&path));
    Ok(tool
        .env("BROWSER", &program)
        .env("PATH", std::env::join_paths(folders)?))
}
