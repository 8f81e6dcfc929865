//! A token from a program: no shell, a clean environment, a deadline, and no more output than a token has.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::error::AmbientProblem;

const DEADLINE: Duration = Duration::from_secs(30);
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// Runs `command`, which is a program and its arguments, and answers what it wrote to standard output. What it writes to
/// standard error goes where ours goes: it is for the same person.
pub(crate) async fn run(
    command: &[String],
    environment: impl Iterator<Item = (&str, &str)>,
) -> Result<Zeroizing<String>, AmbientProblem> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| AmbientProblem::Setting("the command names no program".into()))?;
    let failed = |problem: String| AmbientProblem::Command {
        program: program.clone(),
        problem,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => AmbientProblem::Missing(format!("program {program:?}")),
            _ => failed(error.to_string()),
        })?;
    let output = child.stdout.take();
    let finish = async {
        let mut text = Zeroizing::new(Vec::new());
        if let Some(output) = output {
            output
                .take(MAX_OUTPUT_BYTES + 1)
                .read_to_end(&mut text)
                .await?;
        }
        // One that writes more would wait for a reader for ever, so it is not waited for.
        if text.len() as u64 > MAX_OUTPUT_BYTES {
            return Ok((text, None));
        }
        Ok::<_, std::io::Error>((text, Some(child.wait().await?)))
    };
    let (text, status) = tokio::time::timeout(DEADLINE, finish)
        .await
        .map_err(|_| failed(format!("not done within {} seconds", DEADLINE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    match status {
        None => Err(failed(format!(
            "it wrote more than {MAX_OUTPUT_BYTES} bytes; expected a token alone"
        ))),
        Some(status) if !status.success() => Err(failed(format!("it failed with {status}"))),
        Some(_) => match std::str::from_utf8(&text) {
            Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
            Err(_) => Err(failed("what it wrote is not text".into())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ran(command: &[&str]) -> Result<String, String> {
        let command: Vec<String> = command.iter().map(|&part| part.to_owned()).collect();
        let environment = [("PATH", "/usr/bin:/bin"), ("PASSED", "on")];
        match run(&command, environment.into_iter()).await {
            Ok(text) => Ok(text.to_string()),
            Err(problem) => Err(problem.to_string()),
        }
    }

    #[tokio::test]
    async fn a_program_gets_its_arguments_as_they_are_and_a_clean_environment() {
        assert_eq!(
            ran(&["printf", "%s|", "a b", "$HOME", "`id`"]).await,
            Ok("a b|$HOME|`id`|".into())
        );
        let environment = ran(&["env"]).await.expect("it runs");
        let mut environment: Vec<&str> = environment.lines().collect();
        environment.sort_unstable();
        assert_eq!(environment, ["PASSED=on", "PATH=/usr/bin:/bin"]);
    }

    #[tokio::test]
    async fn a_program_that_does_not_do_its_part_is_named() {
        for (command, said) in [
            (&["no-such-program"][..], "\"no-such-program\" is missing"),
            (&["false"], "\"false\": it failed with exit status: 1"),
            (&["cat", "/dev/zero"], "more than 65536 bytes"),
            (&["printf", r"\377"], "not text"),
        ] {
            let error = ran(command).await.expect_err("it fails");
            assert!(error.contains(said), "{error}");
        }
    }
}
