//! People log in: our client at our own provider and at a foreign one, in a real browser.

#[path = "login/at_ours.rs"]
mod at_ours;
#[path = "login/foreign.rs"]
mod foreign;
#[path = "login/pages.rs"]
mod pages;
#[path = "login/terminal.rs"]
mod terminal;
#[path = "login/webdriver.rs"]
mod webdriver;
