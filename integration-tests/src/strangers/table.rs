//! The README's table of clients, made from what a run has shown.

use super::{
    Act, Client,
    matrix::{Cell, Mark, Results, declared},
};

/// The line before the table in the README.
pub const BEGIN: &str = "<!-- clients: made by the tests; SEALWRIGHT_UPDATE=1 rewrites it -->";
/// The line after it.
pub const END: &str = "<!-- clients: end -->";

/// What each client does by itself, with the heading of its column.
const ABILITIES: [(Act, &str); 7] = [
    (Act::Sign, "signs"),
    (Act::Attest, "attests"),
    (Act::Bootstrap, "trusts through TUF"),
    (Act::LoginBrowser, "logs in by browser"),
    (Act::LoginDevice, "by device code"),
    (Act::Subject, "compares the subject"),
    (Act::WholeIdentity, "compares the whole identity"),
];

/// Notes under the tables, each once, in the order of appearance.
#[derive(Default)]
struct Notes(Vec<&'static str>);

impl Notes {
    fn number(&mut self, text: &'static str) -> usize {
        match self.0.iter().position(|note| *note == text) {
            Some(position) => position + 1,
            None => {
                self.0.push(text);
                self.0.len()
            }
        }
    }
}

/// Renders both tables. A cell of a client that is absent shows what is declared for it; one that was asked and did not
/// answer as declared stays empty.
pub fn render(clients: &[Box<dyn Client>], results: &Results) -> String {
    let mut notes = Notes::default();
    let mut lines = vec![
        "What each does by itself (✓ shown by the test, – cannot, for the reason in the note):"
            .to_owned(),
        String::new(),
    ];
    lines.extend(abilities(clients, results, &mut notes));
    lines.extend([
        String::new(),
        "Each line signs, each column verifies; first the signature of a file, then an attestation:".to_owned(),
        String::new(),
    ]);
    lines.extend(verdicts(clients, results, &mut notes));
    if !notes.0.is_empty() {
        lines.push(String::new());
        for (index, note) in notes.0.iter().enumerate() {
            lines.push(format!("{}. It {note}.", index + 1));
        }
    }
    lines.join("\n")
}

fn abilities(clients: &[Box<dyn Client>], results: &Results, notes: &mut Notes) -> Vec<String> {
    let headings = ABILITIES.iter().map(|(_, heading)| (*heading).to_owned());
    let mut lines = heading("client", headings.collect());
    for (index, client) in clients.iter().enumerate() {
        let cells = ABILITIES.iter().map(|(act, _)| {
            let signer = if matches!(act, Act::Subject | Act::WholeIdentity) {
                0
            } else {
                index
            };
            let cell = Cell {
                act: *act,
                client: index,
                signer,
            };
            shown(clients, results, cell, notes)
        });
        lines.push(row(client.name(), cells.collect()));
    }
    lines
}

fn verdicts(clients: &[Box<dyn Client>], results: &Results, notes: &mut Notes) -> Vec<String> {
    let mut lines = heading(
        "",
        clients
            .iter()
            .map(|client| client.name().to_owned())
            .collect(),
    );
    for (signer, by) in clients.iter().enumerate() {
        let can = |act| declared(by.as_ref(), act) == Mark::Yes;
        if !can(Act::Sign) && !can(Act::Attest) {
            continue;
        }
        let cells = (0..clients.len()).map(|client| {
            let pair = [
                (Act::Verify, can(Act::Sign)),
                (Act::VerifyAttestation, can(Act::Attest)),
            ];
            let marks = pair.into_iter().map(|(act, made)| {
                let cell = Cell {
                    act,
                    client,
                    signer,
                };
                if made {
                    shown(clients, results, cell, notes)
                } else {
                    "–".to_owned()
                }
            });
            marks.collect::<Vec<_>>().join(" ")
        });
        lines.push(row(by.name(), cells.collect()));
    }
    lines
}

fn shown(clients: &[Box<dyn Client>], results: &Results, cell: Cell, notes: &mut Notes) -> String {
    let of = |index: usize| clients.get(index).map(AsRef::as_ref);
    let Some(client) = of(cell.client) else {
        return String::new();
    };
    let absent = [cell.client, cell.signer]
        .into_iter()
        .filter_map(of)
        .any(|client| client.absent().is_some());
    // A verifier that accepts no attestation at all has no subject to compare, for the same reason.
    let unasked = cell.act == Act::Subject && declared(client, Act::VerifyAttestation) != Mark::Yes;
    let mark = match results.cells.get(&cell) {
        Some(mark) => Some(*mark),
        None if unasked => Some(declared(client, Act::VerifyAttestation)),
        None => absent.then(|| declared(client, cell.act)),
    };
    match mark {
        Some(Mark::Yes) => "✓".to_owned(),
        Some(Mark::Limited(because)) => format!("– [{}]", notes.number(because)),
        None => String::new(),
    }
}

fn heading(first: &str, columns: Vec<String>) -> Vec<String> {
    let rule = std::iter::repeat_n("---".to_owned(), columns.len());
    vec![row(first, columns), row("---", rule.collect())]
}

fn row(first: &str, cells: Vec<String>) -> String {
    format!("| {first} | {} |", cells.join(" | "))
}

/// The text between [`BEGIN`] and [`END`], without the lines around it; `None` where the two do not stand so.
pub fn block(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once(BEGIN)?;
    let (block, _) = rest.split_once(END)?;
    Some(block.trim_matches('\n'))
}

/// The README with another block; `None` where it has no place for one.
pub fn with_block(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strangers::all;

    #[test]
    fn a_block_is_replaced_and_read_back() {
        let readme = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let new = with_block(&readme, "| a |\n| b |").expect("a place");
        assert_eq!(block(&new), Some("| a |\n| b |"));
        assert!(new.starts_with("# Title\n\n") && new.ends_with("\n\nmore\n"));
        assert_eq!(with_block("no place", "x"), None);
        assert_eq!(block(&format!("{END}{BEGIN}")), None);
    }

    #[test]
    fn a_cell_that_was_not_answered_stays_empty() {
        let clients = all();
        let mut results = Results::default();
        let ours = |act| Cell {
            act,
            client: 0,
            signer: 0,
        };
        results.cells.insert(ours(Act::Sign), Mark::Yes);
        let table = render(&clients, &results);
        let line = table
            .lines()
            .find(|line| line.starts_with("| sealwright |"))
            .expect("our line");
        assert!(line.starts_with("| sealwright | ✓ |  |"), "{line}");
    }

    #[test]
    fn a_limit_is_a_numbered_note() {
        let clients = all();
        let mut results = Results::default();
        let cell = |act| Cell {
            act,
            client: 0,
            signer: 0,
        };
        results
            .cells
            .insert(cell(Act::Sign), Mark::Limited("cannot"));
        let table = render(&clients, &results);
        assert!(table.contains("| sealwright | – [1] |"), "{table}");
        assert!(table.contains("\n1. It cannot."), "{table}");
    }
}
