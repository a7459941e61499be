//! What README.md and docs/ say is held against the program: links lead somewhere, configurations load, command lines parse, and
//! each warning and error of the log has its line in the troubleshooting page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::config::{Surroundings, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page, by its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "CHANGELOG.md"].map(PathBuf::from).into();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            paths.push(Path::new("docs").join(name));
        }
    }
    assert!(paths.len() > 12, "{paths:?}");
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&root().join(path)))).collect()
}

/// A fenced block: the word after the fence, and its lines.
struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a page, and what is left without them.
fn blocks(page: &str) -> (Vec<Block>, String) {
    let mut blocks = Vec::new();
    let mut prose = String::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => open = Some(Block { language: language.to_owned(), text: String::new() }),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block has no end");
    (blocks, prose)
}

/// What stands between backticks.
fn spans(prose: &str) -> impl Iterator<Item = &str> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

// === links ===

/// The anchor that a heading gets, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let (_, prose) = blocks(page);
    let headings =
        prose.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#').trim()));
    let named = prose.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    headings.chain(named).collect()
}

fn links(page: &str) -> Vec<String> {
    let (_, prose) = blocks(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

#[test]
fn links_are_found_and_headings_named() {
    assert_eq!(links("see [a](b.md#c), [d](https://e) and\n```\n[x](y)\n```\n[f](#g)"), ["b.md#c", "#g"]);
    assert_eq!(slug("What can be lost, and how you hear of it"), "what-can-be-lost-and-how-you-hear-of-it");
    assert_eq!(slug("Gone: `x_y` is 0"), "gone-x_y-is-0");
}

#[test]
fn every_link_leads_to_a_page_and_an_anchor() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let target = root().join(target);
            let is_there = target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn alarms_lead_to_anchors_that_are_there() {
    const PAGE: &str = "docs/troubleshooting.md";
    let anchors = anchors(&read(&root().join(PAGE)));
    let rules = read(&root().join("deploy/prometheus/rules.yml"));
    let led_to: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert!(led_to.len() > 10, "{led_to:?}");
    for address in led_to {
        let anchor = address.strip_prefix(PAGE).and_then(|rest| rest.strip_prefix('#'));
        assert!(anchor.is_some_and(|anchor| anchors.contains(anchor)), "an alarm leads to {address}");
    }
}

// === configurations ===

const LEAST: &str = "[application]\nname = \"docs\"\n[source]\nstreams = [\"clicks\"]\n[sink]\ntype = \"stdout\"\n";

/// Whether a block is of ours at all: no section of a price list is one of a configuration.
fn is_configuration(part: &str) -> bool {
    let part: toml::Table = part.parse().unwrap_or_else(|error| panic!("{error}\n{part}"));
    part.keys().any(|section| crate::config::is_section(section))
}

/// A part of a configuration, over the least one; a `[sink]` with a type is taken whole.
fn completed(part: &str) -> toml::Table {
    let mut whole: toml::Table = LEAST.parse().unwrap();
    let part: toml::Table = part.parse().unwrap_or_else(|error| panic!("{error}\n{part}"));
    for (section, value) in part {
        let names_type = value.get("type").is_some();
        match (whole.get_mut(&section), value) {
            (Some(toml::Value::Table(there)), toml::Value::Table(keys)) if !names_type => there.extend(keys),
            (_, value) => drop(whole.insert(section, value)),
        }
    }
    whole
}

#[test]
fn every_configuration_loads_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    let mut seen = 0;
    for (path, text) in pages() {
        for block in blocks(&text).0.iter().filter(|block| block.language == "toml" && is_configuration(&block.text)) {
            std::fs::write(&file, completed(&block.text).to_string()).unwrap();
            let surroundings = Surroundings { environment: Vec::new(), host_name: "node".to_owned() };
            let loaded = load(&file, &[], &surroundings);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{}: {problems}\n{}", path.display(), block.text));
            assert_eq!(loaded.warnings, [], "{}:\n{}", path.display(), block.text);
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} configurations");
}

// === command lines ===

/// The command lines of ours in a block for a shell, comments and what follows a pipe cut off.
fn lines_of_shell(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let ours = joined.lines().filter_map(|line| {
        let line = line.split(" #").next().unwrap_or_default();
        let words: Vec<&str> =
            line.split_whitespace().skip_while(|word| word.contains('=') || *word == "sudo").collect();
        let ends = words.iter().position(|word| matches!(*word, "|" | ">" | "&" | "&&" | ";" | "<"));
        let words = &words[..ends.unwrap_or(words.len())];
        let program = words.first()?.rsplit('/').next()?;
        (program == "penstock")
            .then(|| std::iter::once("penstock").chain(words[1..].iter().copied()).collect::<Vec<_>>().join(" "))
    });
    ours.collect()
}

/// The words of a command line, with placeholders filled in and what may be left out left in.
fn words(line: &str) -> Vec<String> {
    let filled = line.split_whitespace().map(|word| {
        let word = word.trim_matches(|it| matches!(it, '[' | ']' | '…' | '"' | '\''));
        match word {
            "SHELL" => "bash".to_owned(),
            "N" => "3".to_owned(),
            "RULE" => "kinesis.GetRecords:throttle:p=0.1".to_owned(),
            "KEY=VALUE" => "a.b=1".to_owned(),
            _ => word.to_owned(),
        }
    });
    filled.filter(|word| !word.is_empty()).collect()
}

/// Why a line is none that the program takes. `whole` if nothing may be missing from it.
fn refusal(line: &str, whole: bool) -> Option<String> {
    let error = Cli::try_parse_from(words(line)).err()?;
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let is_part = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    (!is_help && (whole || !is_part))
        .then(|| format!("{line}\n    {}", error.to_string().lines().next().unwrap_or_default()))
}

#[test]
fn a_command_line_is_told_from_a_wrong_one() {
    let block = "FOO=1 ./penstock check -c x.toml --online   # tries\npenstock config -c a \\\n  --json | jq .\nls\n";
    assert_eq!(lines_of_shell(block), ["penstock check -c x.toml --online", "penstock config -c a --json"]);
    assert_eq!(refusal("penstock leases release LEASE… [--force]", false), None);
    assert!(refusal("penstock leases release LEASE…", true).is_some());
    assert!(refusal("penstock leases relase", false).is_some() && refusal("penstock run --fast", false).is_some());
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let mut refused = Vec::new();
    let mut seen = 0;
    for (path, text) in pages() {
        let (blocks, prose) = blocks(&text);
        let shell = blocks.iter().filter(|block| matches!(block.language.as_str(), "sh" | "bash" | "console"));
        let whole = shell.flat_map(|block| lines_of_shell(&block.text)).map(|line| (line.clone(), !line.contains('…')));
        let named = spans(&prose).filter(|span| span.starts_with("penstock ")).map(|span| (span.to_owned(), false));
        for (line, whole) in whole.chain(named) {
            seen += 1;
            refused.extend(refusal(&line, whole).map(|why| format!("{}: {why}", path.display())));
        }
    }
    assert!(seen > 40, "only {seen} command lines");
    assert!(refused.is_empty(), "command lines that the program does not take:\n{}", refused.join("\n"));
}

// === messages ===

/// The messages that a source file logs as warnings and errors: in each macro the text that is no field's value.
fn logged(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut messages = Vec::new();
    for start in ["warn!(", "error!("] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|it| it.is_alphanumeric() || it == '_') {
                continue;
            }
            messages.extend(message(&code[at + start.len()..]));
        }
    }
    messages
}

/// The message among the arguments of a macro, which begin here.
fn message(arguments: &str) -> Option<String> {
    let (mut depth, mut last, mut text) = (1, ' ', None);
    let mut rest = arguments.chars();
    while depth > 0 {
        let it = rest.next()?;
        match it {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => {
                let mut literal = String::new();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => match rest.next()? {
                            // A line that goes on: the blanks at the start of the next one are none of the text.
                            '\n' => rest = rest.as_str().trim_start().chars(),
                            escaped => literal.push(escaped),
                        },
                        plain => literal.push(plain),
                    }
                }
                if depth == 1 && last != '=' {
                    text = Some(literal);
                }
            }
            _ => {}
        }
        if !it.is_whitespace() {
            last = it;
        }
    }
    text
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "fakes" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !["tests.rs", "documents.rs"].contains(&name.as_str()) {
            found.push(path);
        }
    }
}

#[test]
fn messages_are_found_in_the_code() {
    let code =
        "warn!(on = \"a\", x = %chain(\"b\"), \"it \\\"stands\\\" \\\n    still\");\nmywarn!(\"no\"); error!(\"gone\")";
    assert_eq!(logged(code), ["it \"stands\" still", "gone"]);
}

#[test]
fn every_warning_and_error_of_the_daemon_has_its_line_in_the_troubleshooting_page() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let mut files = Vec::new();
    for shipped in ["penstock-core", "penstock-engine", "penstock-objects", "penstock-aws", "penstock"] {
        sources(&root().join("crates").join(shipped).join("src"), &mut files);
    }
    let messages: BTreeSet<String> = files.iter().flat_map(|file| logged(&read(file))).collect();
    assert!(messages.len() > 30, "{messages:#?}");
    // What is put together at run time cannot be looked for.
    let fixed = messages.iter().filter(|message| !message.contains('{'));
    let missing: Vec<&str> = fixed.filter(|message| !page.contains(message.as_str())).map(String::as_str).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md says nothing of\n{}", missing.join("\n"));
}
