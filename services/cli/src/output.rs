//! What a run prints and how it ends.

use std::io::Write as _;
use std::process::ExitCode;

use sealwright_sdk::{Error, Verdict};
use serde_json::{Map, Value, json};

use crate::args::Output;

/// The answer is no.
pub(crate) const REFUSED: u8 = 1;
/// The question was put wrongly.
pub(crate) const USAGE: u8 = 2;
/// There is no answer.
pub(crate) const UNDECIDED: u8 = 3;

/// What a successful command has to say, in both forms.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For people, on standard error.
    pub(crate) text: String,
    /// What the command is for (a token, a listing): on standard output, in text form.
    pub(crate) product: String,
    /// For programs, on standard output: one JSON document.
    pub(crate) json: String,
    /// Some of several parts failed; the report says which.
    pub(crate) worst: Option<Verdict>,
}

/// Prints and turns into an exit code.
pub(crate) fn finish(
    output: Output,
    command: &'static str,
    outcome: Result<Report, Error>,
) -> ExitCode {
    let code = match &outcome {
        Ok(report) => report.worst.map_or(0, exit_code),
        Err(error) => exit_code(error.verdict()),
    };
    let printed = match (output, &outcome) {
        (Output::Json, Ok(report)) => print(&report.json),
        (Output::Json, Err(error)) => print(&failure_json(command, error).to_string()),
        (Output::Text, Ok(report)) => {
            say(&printable(&report.text, &['\n', '\t']));
            if report.product.is_empty() {
                Ok(())
            } else {
                print(&printable(
                    report.product.trim_end_matches('\n'),
                    &['\n', '\t'],
                ))
            }
        }
        (Output::Text, Err(error)) => {
            say(&failure_text(error));
            Ok(())
        }
    };
    match printed {
        // Who closed the pipe has read enough; anything else means that the result did not arrive.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(&format!("error: standard output: {error}\n"));
            ExitCode::from(code.max(UNDECIDED))
        }
        _ => ExitCode::from(code),
    }
}

fn print(text: &str) -> std::io::Result<()> {
    print_all(&format!("{text}\n"))
}

/// To standard output, as it is.
pub(crate) fn print_all(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// To standard error. When nobody can be told (a full disk, a closed pipe), the exit code still is the answer, which a panic
/// would take away.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// For programs that asked for JSON and wrote the rest of the line wrongly.
pub(crate) fn print_usage(message: &str) {
    let arguments: Vec<String> = std::env::args().collect();
    let pair = |pair: &[String]| matches!(pair, [name, value] if (name == "-o" || name == "--output") && value == "json");
    let joined = arguments
        .iter()
        .any(|argument| argument == "--output=json" || argument == "-ojson");
    if joined || arguments.windows(2).any(pair) {
        let first = message
            .lines()
            .next()
            .unwrap_or("")
            .trim_start_matches("error: ");
        let error =
            json!({ "code": "USAGE", "message": first, "verdict": verdict_name(Verdict::Usage) });
        // The exit code says the same to whoever does not read this.
        let _ = print(&json!({ "error": error }).to_string());
    }
}

fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Refused => REFUSED,
        Verdict::Usage => USAGE,
        Verdict::Undecided => UNDECIDED,
    }
}

/// What was wrong, which value, what would be accepted; for a refused bundle the check's code and step.
pub(crate) fn failure_text(error: &Error) -> String {
    match error {
        Error::Refused(refusal) => {
            let explanation = refusal.explain();
            let (step, code) = (step_name(&explanation.step), explanation.code);
            let (found, expected) = (
                printable(&explanation.found, &[]),
                printable(&explanation.expected, &[]),
            );
            let help = explanation.help;
            format!(
                "error: refused at step {step}: {code}\n  found:    {found}\n  expected: {expected}\n  {help}\n"
            )
        }
        other => format!(
            "error: {} [{}]\n",
            printable(&other.to_string(), &[]),
            other.code()
        ),
    }
}

/// Text of which parts come from a bundle or a server, for a terminal: what would move the cursor, colour the text, begin a
/// line of its own or turn the direction of writing is shown as an escape, so that nobody but us says "Verified OK".
fn printable(text: &str, kept: &[char]) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) && !kept.contains(&c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same for programs.
pub(crate) fn failure_value(error: &Error) -> Value {
    let mut fields = Map::new();
    if let Error::Refused(refusal) = error
        && let Ok(Value::Object(explanation)) = serde_json::to_value(refusal.explain())
    {
        fields = explanation;
    }
    fields.insert("code".into(), error.code().into());
    fields.insert("message".into(), error.to_string().into());
    fields.insert("verdict".into(), verdict_name(error.verdict()).into());
    fields.into()
}

fn failure_json(command: &str, error: &Error) -> Value {
    let failure = failure_value(error);
    if command.starts_with("verify") {
        return json!({ "verified": false, "error": failure });
    }
    json!({ "error": failure })
}

pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Refused => "refused",
        Verdict::Usage => "usage",
        Verdict::Undecided => "undecided",
    }
}

/// The step's name as it is serialised.
fn step_name(step: &sealwright_sdk::bundle::error::Step) -> String {
    match serde_json::to_value(step) {
        Ok(Value::String(name)) => name,
        _ => format!("{step:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_sdk::TokenProblem;
    use sealwright_sdk::bundle::VerifyError;

    #[test]
    fn a_refusal_names_code_and_step_in_both_forms() {
        let error = Error::Refused(VerifyError::SignatureInvalid);
        let text = failure_text(&error);
        assert!(
            text.contains("refused at step signature: SIGNATURE_INVALID"),
            "{text}"
        );
        let value = failure_json("verify-blob", &error);
        assert_eq!(value["verified"], false);
        assert_eq!(value["error"]["code"], "SIGNATURE_INVALID");
        assert_eq!(value["error"]["step"], "signature");
        assert_eq!(value["error"]["verdict"], "refused");
    }

    #[test]
    fn exit_codes_are_the_contract() {
        let expired = Error::Token(TokenProblem::Expired { expires: 1, now: 2 });
        assert_eq!(exit_code(expired.verdict()), 1);
        assert_eq!(exit_code(Error::Token(TokenProblem::Missing).verdict()), 2);
        assert_eq!(
            exit_code(
                Error::TrustMissing {
                    problem: String::new()
                }
                .verdict()
            ),
            3
        );
        assert_eq!(
            exit_code(Error::TimedOut(std::time::Duration::from_secs(1)).verdict()),
            3
        );
    }
}
