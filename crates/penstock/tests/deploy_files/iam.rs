//! `deploy/iam`: what the code calls is permitted, and nothing else; every action and form is one that IAM knows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::source::{called, called_in};
use super::tools::{files, json as file, judge, tool};

/// What cannot be read from the calls of the SDK's clients.
const BESIDES: [(&str, &str); 6] = [
    ("s3:PutObject", "object_store: each put"),
    ("s3:GetObject", "object_store: HEAD of an object that is there, a put on If-Match, reading back"),
    ("s3:ListBucket", "without it a missing object answers 403"),
    ("kms:Decrypt", "by Kinesis and S3 in the caller's name"),
    ("kms:GenerateDataKey", "by S3 in the caller's name"),
    ("sts:AssumeRole", "by the SDK's credential provider, and in trust policies"),
];

/// What nobody has to be permitted.
const FREE: [&str; 1] = ["sts:GetCallerIdentity"];

fn policies() -> Vec<String> {
    files("deploy/iam")
}

/// Whether a role or resource carries it, so that it names a principal.
fn names_a_principal(name: &str) -> bool {
    name.ends_with(".trust.json") || name.ends_with(".resource-policy.json")
}

fn actions_of(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().expect("statements");
    let listed = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().map(|it| it.as_str().expect("an action").to_owned()).collect(),
        other => panic!("{other} is no action"),
    };
    statements.iter().flat_map(|statement| listed(&statement["Action"])).collect()
}

#[test]
fn what_the_code_calls_is_permitted_and_nothing_else() {
    let permitted: BTreeSet<String> =
        policies().iter().flat_map(|name| actions_of(&file(&format!("deploy/iam/{name}")))).collect();
    let besides = BESIDES.iter().map(|(action, _)| (*action).to_owned());
    let needed: BTreeSet<String> =
        called().into_iter().chain(besides).filter(|action| !FREE.contains(&action.as_str())).collect();
    let missing: Vec<_> = needed.difference(&permitted).collect();
    let idle: Vec<_> = permitted.difference(&needed).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "called and not permitted: {missing:?}; permitted for nothing: {idle:?}"
    );
}

#[test]
fn each_table_may_be_used_as_its_code_uses_it() {
    let policy = file("deploy/iam/leases.json");
    let statements = policy["Statement"].as_array().expect("statements");
    // Both are looked at before they are used; what creates them is a policy of its own.
    let looked_at = BTreeSet::from(["dynamodb:DescribeTable".to_owned()]);
    for (statement, table, code) in [
        (&statements[0], "${Table}", &["lease_table.rs", "kcl_version.rs"][..]),
        (&statements[1], "${Table}-gaps", &["gap_table.rs"][..]),
        (&statements[2], "${Table}-CoordinatorState", &["kcl_version.rs"][..]),
    ] {
        let resource = statement["Resource"].as_str().expect("one resource");
        assert!(resource.ends_with(&format!(":table/{table}")), "{resource}");
        let permitted = actions_of(&json!({ "Statement": [statement] }));
        let mut needed = called_in(code);
        if !table.ends_with("State") {
            needed.extend(looked_at.clone());
        }
        assert_eq!(permitted, needed, "{table}");
    }
}

#[test]
fn nothing_is_permitted_on_everything_or_by_a_pattern_of_actions() {
    for name in policies() {
        let policy = file(&format!("deploy/iam/{name}"));
        assert_eq!(policy["Version"], "2012-10-17", "{name}");
        assert!(actions_of(&policy).iter().all(|action| !action.contains('*')), "{name}");
        for statement in policy["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            assert!(statement["Sid"].is_string(), "{name}: each statement says what it is for");
            assert_eq!(statement["Principal"].is_object(), names_a_principal(&name), "{name}");
            assert_ne!(statement["Resource"], json!("*"), "{name}");
        }
    }
}

#[test]
fn a_shared_stream_permits_the_same_on_both_sides() {
    let here = actions_of(&file("deploy/iam/source-cross-account.json"));
    assert_eq!(here, actions_of(&file("deploy/iam/source-cross-account.resource-policy.json")));
    assert_eq!(here, actions_of(&file("deploy/iam/source-polling.json")));
}

/// A template that has nothing but these policies, its placeholders as parameters.
fn template_of(policies: &[(String, Value)]) -> Value {
    let mut resources = serde_json::Map::new();
    let mut parameters = serde_json::Map::new();
    for (name, policy) in policies {
        let id: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let document = substituted(policy, &mut parameters);
        let properties = if name.ends_with(".trust.json") {
            json!({ "Type": "AWS::IAM::Role", "Properties": { "AssumeRolePolicyDocument": document } })
        } else if names_a_principal(name) {
            let arn = document["Statement"][0]["Resource"].clone();
            json!({ "Type": "AWS::Kinesis::ResourcePolicy", "Properties": { "ResourceArn": arn, "ResourcePolicy": document } })
        } else {
            json!({ "Type": "AWS::IAM::ManagedPolicy", "Properties": { "PolicyDocument": document } })
        };
        resources.insert(id, properties);
    }
    json!({ "AWSTemplateFormatVersion": "2010-09-09", "Parameters": parameters, "Resources": resources })
}

fn substituted(value: &Value, parameters: &mut serde_json::Map<String, Value>) -> Value {
    match value {
        Value::String(text) if text.contains("${") => {
            for rest in text.split("${").skip(1) {
                let name = rest.split('}').next().expect("a placeholder ends");
                parameters.insert(name.to_owned(), json!({ "Type": "String" }));
            }
            json!({ "Fn::Sub": text })
        }
        Value::Array(items) => items.iter().map(|item| substituted(item, parameters)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), substituted(field, parameters)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        plain => plain.clone(),
    }
}

fn lint(policies: &[(String, Value)]) -> super::tools::Judgement {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let template = dir.path().join("policies.json");
    std::fs::write(&template, template_of(policies).to_string()).expect("it can be written");
    judge(tool("cfn-lint").arg("--").arg(&template))
}

#[test]
fn every_policy_is_one_that_iam_takes() {
    let all: Vec<_> = policies().into_iter().map(|name| (name.clone(), file(&format!("deploy/iam/{name}")))).collect();
    assert!(all.len() >= 10, "{all:?}");
    let judgement = lint(&all);
    assert!(judgement.content, "{}", judgement.said);

    // And the judge would notice.
    let mut wrong = file("deploy/iam/source-polling.json");
    wrong["Statement"][0]["Action"] = json!("kinesis:GetRecord");
    let judgement = lint(&[("wrong.json".to_owned(), wrong)]);
    assert!(!judgement.content && judgement.said.contains("getrecord"), "{}", judgement.said);
}

#[test]
fn the_placeholders_are_filled_by_envsubst_as_the_page_says() {
    // Not by the tool itself, which is not everywhere: by what it takes for a variable.
    for name in policies() {
        let text = super::tools::read(&format!("deploy/iam/{name}"));
        for rest in text.split('$').skip(1) {
            let variable = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(variable, _)| variable);
            let is_name = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric());
            assert!(variable.is_some_and(is_name), "{name}: {rest:.20}");
        }
    }
}
