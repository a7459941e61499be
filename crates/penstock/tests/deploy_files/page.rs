//! `docs/deploy.md`: what it names is there.

use super::tools::{files, path, read, yaml};

const PAGE: &str = "docs/deploy.md";

/// The words of the page that begin like this, without what follows a name in prose.
fn named(beginning: &str) -> Vec<String> {
    let page = read(PAGE);
    let words =
        page.split(|letter: char| letter.is_whitespace() || matches!(letter, '`' | '(' | ')' | '"' | '<' | '>' | '|'));
    let found = words.filter(|word| word.starts_with(beginning));
    found.map(|word| word.trim_end_matches(['.', ',', ':', ';']).to_owned()).collect()
}

#[test]
fn every_file_that_it_names_is_there() {
    let found = named("deploy/");
    assert!(found.len() >= 5, "{found:?}");
    for file in found.into_iter().filter(|file| !file.contains('$')) {
        assert!(path(&file).exists(), "{file}");
    }
    let page = read(PAGE);
    for policy in files("deploy/iam") {
        assert!(page.contains(&policy), "{policy} is not explained");
    }
    for rest in page.split("](").skip(1) {
        let link = rest.split(')').next().expect("a link ends");
        let file = link.split('#').next().expect("a link begins");
        assert!(file.is_empty() || path("docs").join(file).is_file(), "{link}");
    }
}

#[test]
fn every_parameter_that_it_gives_is_one_of_the_template() {
    let parameters = yaml("deploy/ecs/fargate.yaml")["Parameters"].as_object().expect("parameters").clone();
    for given in [
        "Image",
        "StreamName",
        "Bucket",
        "VpcId",
        "SubnetIds",
        "SinkType",
        "DeliveryStream",
        "SinkRegion",
        "Spot",
        "AssignPublicIp",
        "CpuArchitecture",
        "ScaleOnLag",
    ] {
        assert!(!named(&format!("{given}=")).is_empty(), "{given} is not on the page");
        assert!(parameters.contains_key(given), "{given}");
    }
    for (name, parameter) in &parameters {
        let required = parameter.get("Default").is_none();
        assert!(!required || !named(&format!("{name}=")).is_empty(), "{name} is required and not given");
    }
}

#[test]
fn make_knows_what_it_is_asked_for() {
    let makefile = read("Makefile");
    for target in ["install", "stack", "demo"] {
        assert!(makefile.contains(&format!("\n{target}:")), "{target}");
    }
}
