//! `deploy/ecs`: templates that CloudFormation's linter takes, whose policies are the files of `deploy/iam`, and whose environment
//! penstock takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::tools::{Judgement, files, judge, pass, path, penstock, read, tool, yaml};

const TEMPLATES: [&str; 2] = ["deploy/ecs/fargate.yaml", "deploy/ecs/ec2.yaml"];

/// What the placeholders of `deploy/iam` are called in a template.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("Partition", "AWS::Partition"),
    ("Region", "AWS::Region"),
    ("Account", "AWS::AccountId"),
    ("UrlSuffix", "AWS::URLSuffix"),
    ("Stream", "StreamName"),
    ("Table", "Application"),
];

/// Conditions under which one deployment stands, and what it was given.
struct Case {
    holds: &'static [&'static str],
    parameters: &'static [(&'static str, &'static str)],
}

const TO_S3: Case =
    Case { holds: &["ToS3", "HasBucket", "Scales"], parameters: &[("SinkType", "s3"), ("Bucket", "lake")] };
const TO_FIREHOSE: Case = Case {
    holds: &["ToFirehose", "HasBucket", "HasSetAside", "HasSinkRegion", "AssumesSourceRole", "AssumesSinkRole"],
    parameters: &[
        ("SinkType", "firehose"),
        ("Bucket", "lake"),
        ("DeliveryStream", "to-lake"),
        ("SinkRegion", "us-west-2"),
        ("SourceRoleArn", "arn:aws:iam::111122223333:role/reader"),
        ("SinkRoleArn", "arn:aws:iam::111122223333:role/writer"),
    ],
};

#[test]
fn cloudformation_takes_the_templates() {
    for template in TEMPLATES {
        pass(tool("cfn-lint").args(["--include-checks", "I", "--"]).arg(path(template)));
    }
    // And the judge would notice.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wrong = dir.path().join("wrong.yaml");
    std::fs::write(&wrong, read(TEMPLATES[0]).replace("StopTimeout: 120", "StopTimeOut: 120"))
        .expect("it can be written");
    let Judgement { content, said } = judge(tool("cfn-lint").arg("--").arg(&wrong));
    assert!(!content && said.contains("StopTimeOut"), "{said}");
}

/// The text form of what a template computes: `Ref` and `Fn::Sub` as placeholders.
fn flat(value: &Value) -> Value {
    let Value::Object(fields) = value else {
        return match value {
            Value::Array(items) => items.iter().map(flat).collect(),
            plain => plain.clone(),
        };
    };
    match fields.iter().next() {
        Some((name, Value::String(of))) if fields.len() == 1 && name == "Ref" => json!(format!("${{{of}}}")),
        Some((name, Value::String(text))) if fields.len() == 1 && name == "Fn::Sub" => json!(text),
        // With values of its own beside the text; the names in the text are what counts.
        Some((name, Value::Array(parts))) if fields.len() == 1 && name == "Fn::Sub" => parts[0].clone(),
        _ => fields.iter().map(|(name, field)| (name.clone(), flat(field))).collect::<Map<_, _>>().into(),
    }
}

/// Both branches of each choice, without what is absent.
fn branches(items: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for item in items.as_array().expect("a list") {
        match item.get("Fn::If") {
            None => all.push(item.clone()),
            Some(choice) => {
                let kept = choice.as_array().expect("a choice has three parts")[1..].iter();
                all.extend(kept.filter(|branch| **branch != json!({ "Ref": "AWS::NoValue" })).cloned());
            }
        }
    }
    all
}

fn in_terms_of_a_template(policy: &str) -> Value {
    let mut text = read(&format!("deploy/iam/{policy}"));
    for (ours, theirs) in PLACEHOLDERS {
        text = text.replace(&format!("${{{ours}}}"), &format!("${{{theirs}}}"));
    }
    serde_json::from_str(&text).expect("a policy is JSON")
}

#[test]
fn the_roles_policies_are_the_files_of_iam() {
    // What a policy of another account, or another kind of host, is for.
    let elsewhere =
        ["source-cross-account.json", "source-cross-account.resource-policy.json", "assumed-role.trust.json"];
    for template in TEMPLATES {
        let role = yaml(template)["Resources"]["TaskRole"]["Properties"].clone();
        let mut used = BTreeSet::from(["ecs-task.trust.json".to_owned(), "ec2-instance.trust.json".to_owned()]);
        assert_eq!(
            flat(&role["AssumeRolePolicyDocument"]),
            in_terms_of_a_template("ecs-task.trust.json"),
            "{template}"
        );
        for policy in branches(&role["Policies"]) {
            let name = format!("{}.json", policy["PolicyName"].as_str().expect("a name"));
            assert_eq!(flat(&policy["PolicyDocument"]), in_terms_of_a_template(&name), "{template}: {name}");
            used.insert(name);
        }
        let unused: Vec<_> = files("deploy/iam").into_iter().filter(|name| !used.contains(name)).collect();
        assert_eq!(
            unused,
            {
                let mut it = elsewhere.map(str::to_owned);
                it.sort();
                it
            },
            "{template}"
        );
        assert!(role.get("ManagedPolicyArns").is_none(), "{template}: all that penstock may do is in its files");
    }
    let instance = yaml("deploy/ecs/ec2.yaml")["Resources"]["InstanceRole"]["Properties"].clone();
    assert_eq!(flat(&instance["AssumeRolePolicyDocument"]), in_terms_of_a_template("ec2-instance.trust.json"));
}

#[test]
fn both_templates_say_the_same_of_what_they_share() {
    let [fargate, ec2] = TEMPLATES.map(yaml);
    let of = |template: &Value, section: &str| template[section].as_object().expect("a section").clone();
    for section in ["Parameters", "Conditions", "Resources", "Outputs", "Rules"] {
        let (fargate, ec2) = (of(&fargate, section), of(&ec2, section));
        let shared: Vec<_> = fargate.keys().filter(|name| ec2.contains_key(*name)).collect();
        for name in shared {
            // They differ in where it runs.
            if matches!(name.as_str(), "Service" | "Cluster" | "TaskDefinition" | "Memory") {
                continue;
            }
            assert_eq!(fargate[name], ec2[name], "{section}: {name}");
        }
    }
    let container =
        |template: &Value| template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"].clone();
    assert_eq!(container(&fargate), container(&ec2));
}

#[test]
fn a_task_is_hardened_and_drains_in_time() {
    for template in TEMPLATES {
        let template = yaml(template);
        let container = &template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0];
        assert_eq!(container["StopTimeout"], 120);
        let most = template["Parameters"]["GracePeriodSeconds"]["MaxValue"].as_u64().expect("a bound");
        let default = template["Parameters"]["GracePeriodSeconds"]["Default"].as_u64().expect("a default");
        assert!(most + 10 <= 120 && default <= most, "{default} {most}");
        assert_eq!(container["ReadonlyRootFilesystem"], true);
        assert_eq!(container["LinuxParameters"]["Capabilities"]["Drop"], json!(["ALL"]));
        assert!(container.get("Secrets").is_none());
        let service = &template["Resources"]["Service"]["Properties"];
        let breaker = &service["DeploymentConfiguration"]["DeploymentCircuitBreaker"];
        assert_eq!(*breaker, json!({ "Enable": true, "Rollback": true }));
        assert_eq!(service["ServiceRegistries"][0]["RegistryArn"], json!({ "Fn::GetAtt": "Discovery.Arn" }));
    }
}

#[test]
fn the_container_fits_the_image() {
    let image = read("deploy/docker/Dockerfile");
    let template = yaml(TEMPLATES[0]);
    let container = &template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0];
    let user = container["User"].as_str().expect("a user");
    assert!(image.contains(&format!("\nUSER {user}\n")) && image.contains(&format!("--chown={user}")), "{user}");
    let writable = container["MountPoints"][0]["ContainerPath"].as_str().expect("a path");
    // Only a declared volume keeps its owner when the task mounts an empty one over it.
    assert!(image.contains(&format!("\nVOLUME [\"{writable}\"]\n")), "{writable}");
    let port = container["PortMappings"][0]["ContainerPort"].as_u64().expect("a port");
    assert!(image.contains(&format!("\nEXPOSE {port}\n")));
    let health = container["HealthCheck"]["Command"].as_array().expect("a command");
    let program = health[1].as_str().expect("a program");
    assert!(image.contains(&format!("ENTRYPOINT [\"{program}\"]")), "{program}");
    let arguments = container["Command"].to_string().replace(',', ", ");
    assert!(image.contains(&format!("CMD {arguments}")), "{arguments}");
}

/// The container's environment as it would be.
fn environment(template: &Value, case: &Case) -> BTreeMap<String, String> {
    let container = &template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0];
    let mut environment = BTreeMap::new();
    for item in container["Environment"].as_array().expect("a list") {
        let item = match item.get("Fn::If").and_then(Value::as_array) {
            None => item,
            Some(choice) => {
                let condition = choice[0].as_str().expect("the name of a condition");
                &choice[if case.holds.contains(&condition) { 1 } else { 2 }]
            }
        };
        if *item == json!({ "Ref": "AWS::NoValue" }) {
            continue;
        }
        let value = flat(&item["Value"]);
        let mut value = value.as_str().expect("a text").to_owned();
        for (name, parameter) in template["Parameters"].as_object().expect("parameters") {
            let given = case.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| json!(value));
            let text = given.unwrap_or_else(|| parameter["Default"].clone());
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            value = value.replace(&format!("${{{name}}}"), &text);
        }
        let value = value.replace("${AWS::Region}", "eu-central-1");
        assert!(!value.contains("${"), "{value}");
        environment.insert(item["Name"].as_str().expect("a name").to_owned(), value);
    }
    environment
}

#[test]
fn penstock_takes_the_environment_of_each_deployment() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let empty = dir.path().join("penstock.toml");
    std::fs::write(&empty, "").expect("it can be written");
    for template in TEMPLATES.map(yaml) {
        for case in [TO_S3, TO_FIREHOSE] {
            let environment = environment(&template, &case);
            let said = pass(penstock().envs(&environment).args(["config", "--json", "-c"]).arg(&empty));
            // Each of them counts.
            for name in environment.keys() {
                let key = name.trim_start_matches("PENSTOCK__").replace("__", ".").to_lowercase();
                assert!(said.contains(&format!("\"{key}\"")) && said.contains(name.as_str()), "{name} in\n{said}");
            }
            let mut wrong = environment;
            wrong.insert("PENSTOCK__SINK__BUCKETS".to_owned(), "lake".to_owned());
            assert!(!judge(penstock().envs(&wrong).args(["check", "-c"]).arg(&empty)).content);
        }
    }
}

#[test]
fn what_scales_is_the_metric_that_kinesis_publishes_itself() {
    for template in TEMPLATES.map(yaml) {
        for alarm in ["Behind", "CaughtUp"] {
            let alarm = &template["Resources"][alarm]["Properties"];
            assert_eq!(
                (&alarm["Namespace"], &alarm["MetricName"]),
                (&json!("AWS/Kinesis"), &json!("GetRecords.IteratorAgeMilliseconds"))
            );
            assert_eq!(alarm["Dimensions"], json!([{ "Name": "StreamName", "Value": { "Ref": "StreamName" } }]));
        }
    }
}
