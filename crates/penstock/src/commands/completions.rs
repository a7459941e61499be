//! `penstock completions`: what a shell needs to complete our command line, made from its definition.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, CompletedShell, CompletionsArgs};

/// Prints the completions.
///
/// # Errors
/// If stdout is closed.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(&script(args.shell))?)
}

fn script(shell: CompletedShell) -> Vec<u8> {
    let shell = match shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "penstock", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;

    const SHELLS: [CompletedShell; 3] = [CompletedShell::Bash, CompletedShell::Zsh, CompletedShell::Fish];

    fn words(command: &clap::Command, of: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if let Some(long) = argument.get_long() {
                of.push(long.to_owned());
                of.extend(argument.get_possible_values().iter().map(|value| value.get_name().to_owned()));
            }
        }
        for subcommand in command.get_subcommands() {
            of.push(subcommand.get_name().to_owned());
            words(subcommand, of);
        }
    }

    #[test]
    fn every_shell_completes_every_command_and_flag() {
        let mut command = Cli::command();
        command.build();
        let mut expected = Vec::new();
        words(&command, &mut expected);
        assert!(expected.len() > 40, "{expected:?}");
        for shell in SHELLS {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in &expected {
                assert!(script.contains(word.as_str()), "{shell:?} does not know {word}");
            }
        }
    }

    #[test]
    fn every_shell_can_read_its_script() {
        let dir = tempfile::tempdir().unwrap();
        for (shell, program) in SHELLS.into_iter().zip(["bash", "zsh", "fish"]) {
            let path = dir.path().join(program);
            std::fs::write(&path, script(shell)).unwrap();
            match Command::new(program).arg("-n").arg(&path).output() {
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert!(output.status.success() && said.is_empty(), "{program}: {said}");
                }
                // Bash is everywhere; that the others have the same words is shown above.
                Err(error) => assert!(error.kind() == ErrorKind::NotFound && program != "bash", "{program}: {error}"),
            }
        }
    }

    #[test]
    fn bash_completes_a_command_and_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("penstock");
        std::fs::write(&path, script(CompletedShell::Bash)).unwrap();
        for (line, expected) in [
            ("penstock lea", "leases"),
            ("penstock leases set-", "set-position"),
            ("penstock leases release --fo", "--force"),
            ("penstock demo --sink fire", "firehose"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let last = words.len() - 1;
            let ask = format!(
                "source {path}; COMP_WORDS=({line}); COMP_CWORD={last}; _penstock penstock {} {}; echo \"${{COMPREPLY[*]}}\"",
                words[last],
                words[last - 1],
                path = path.display(),
            );
            let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
        }
    }
}
