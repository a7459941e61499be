//! `penstock manual`: a page for each command, as Git has them, made from the definition of the command line.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::{Cli, ManualArgs};

/// The one section that we have pages in.
const SECTION: &str = "1";

/// Prints one page, or writes all of them.
///
/// # Errors
/// If there is no such command, or a page cannot be written.
pub(crate) fn run(args: &ManualArgs) -> anyhow::Result<()> {
    let pages = pages()?;
    match &args.dir {
        Some(dir) => write_all(&pages, dir),
        None => {
            let name = std::iter::once("penstock").chain(args.command.iter().map(String::as_str));
            let name = name.collect::<Vec<_>>().join("-");
            let Some(page) = pages.iter().find(|page| page.name == name) else {
                bail!("there is no command `penstock {}`: `penstock --help` lists them", args.command.join(" "));
            };
            Ok(std::io::stdout().write_all(&page.text)?)
        }
    }
}

fn write_all(pages: &[Page], dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for page in pages {
        let path = dir.join(format!("{}.{SECTION}", page.name));
        std::fs::write(&path, &page.text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A page of the manual.
struct Page {
    /// Such as penstock-leases-release.
    name: String,
    text: Vec<u8>,
}

/// Every page, a command before its subcommands.
fn pages() -> std::io::Result<Vec<Page>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add(&command, None, &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, parent: Option<&str>, pages: &mut Vec<Page>) -> std::io::Result<()> {
    let name = parent.map_or_else(String::new, |parent| format!("{parent}-")) + command.get_name();
    pages.push(Page { text: page(command, &name, parent)?, name: name.clone() });
    command.get_subcommands().try_for_each(|subcommand| add(subcommand, Some(&name), pages))
}

fn page(command: &clap::Command, name: &str, parent: Option<&str>) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Without a date: pages that say the same are the same.
    writeln!(text, ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '")?;
    writeln!(text, ".TH {name} {SECTION} \"\" \"penstock {}\" \"penstock\"", env!("CARGO_PKG_VERSION"))?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(codes) = command.get_after_help() {
        exit_status(&codes.to_string(), &mut text)?;
    }
    if let Some(parent) = parent {
        writeln!(text, ".SH \"SEE ALSO\"\n{}({SECTION})", parent.replace('-', "\\-"))?;
    }
    Ok(text)
}

/// The exit codes as a section of their own, under the name that readers of manuals look for.
fn exit_status(codes: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    writeln!(text, ".SH \"EXIT STATUS\"")?;
    // After the line that says what they are.
    for line in codes.lines().skip(1) {
        if let Some((code, meaning)) = line.trim().split_once("  ") {
            writeln!(text, ".TP\n{code}\n{}", meaning.trim().replace('-', "\\-"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    fn of(command: &clap::Command, pages: &[Page], name: &str) {
        let page = pages.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("no page {name}"));
        // Hyphens are escaped in roff.
        let text = String::from_utf8(page.text.clone()).unwrap().replace("\\-", "-");
        for argument in command.get_arguments() {
            let shown = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => argument.get_value_names().unwrap()[0].to_string(),
            };
            assert!(text.contains(&shown), "{name} does not show {shown}:\n{text}");
        }
        for subcommand in command.get_subcommands() {
            let name = format!("{name}-{}", subcommand.get_name());
            assert!(text.contains(&format!("{name}(1)")), "no word of {name}:\n{text}");
            of(subcommand, pages, &name);
        }
    }

    #[test]
    fn every_command_and_argument_has_its_place() {
        let pages = pages().unwrap();
        let mut command = Cli::command();
        command.build();
        of(&command, &pages, "penstock");
        let release = pages.iter().find(|page| page.name == "penstock-leases-release").unwrap();
        let text = String::from_utf8(release.text.clone()).unwrap();
        assert!(
            text.contains(".SH \"EXIT STATUS\"\n.TP\n0\ndone\n") && text.contains("penstock\\-leases(1)"),
            "{text}"
        );
    }

    /// What a formatter of manuals says of a page; `None` where there is no such program.
    fn complaints(program: &[&str], page: &Page) -> Option<String> {
        let pipe = Stdio::piped;
        let spawned = Command::new(program[0]).args(&program[1..]).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn();
        let mut child = spawned.ok()?;
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&page.text).unwrap();
        drop(stdin);
        let mut formatted = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut formatted).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program:?} failed at {}", page.name);
        Some(String::from_utf8_lossy(&formatted).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    #[test]
    fn every_page_is_formatted_without_a_complaint() {
        for page in pages().unwrap() {
            // A line that begins with a dot is a request; one that is none would be swallowed.
            let text = String::from_utf8(page.text.clone()).unwrap();
            let known = [".SH ", ".TH ", ".TP", ".IP", ".PP", ".br", ".RS", ".RE", ".ie ", ".el "];
            let unknown = text
                .lines()
                .filter(|line| line.starts_with('.'))
                .find(|line| !known.iter().any(|it| line.starts_with(it)));
            assert_eq!(unknown, None, "{}", page.name);
            // With -z the text itself is left out, with lint there is nothing but complaints.
            for program in [["groff", "-man", "-ww", "-z"], ["mandoc", "-man", "-Tlint", "-Werror"]] {
                assert_eq!(
                    complaints(&program, &page).unwrap_or_default(),
                    "",
                    "{program:?} on {}:\n{text}",
                    page.name
                );
            }
        }
    }

    #[test]
    fn pages_are_written_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        write_all(&pages().unwrap(), &dir.path().join("man1")).unwrap();
        for name in ["penstock.1", "penstock-run.1", "penstock-leases.1", "penstock-leases-set-position.1"] {
            assert!(dir.path().join("man1").join(name).is_file(), "{name}");
        }
    }
}
