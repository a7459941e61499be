//! ARNs: read where they come from a service, made where one is needed to name what a policy has to allow.

/// An ARN in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
}

/// The Region and the account of an ARN; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Arn<'_>> {
    let mut parts = text.splitn(6, ':');
    let (arn, _partition, _service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, _resource) = (parts.next()?, parts.next()?, parts.next()?);
    (arn == "arn").then_some(Arn { region, account })
}

/// The ARN of a resource by its service's naming. An account that is not known stands as the word.
pub(super) fn of(service: &str, region: &str, account: Option<&str>, resource: &str) -> String {
    let partition = partition(region);
    format!("arn:{partition}:{service}:{region}:{}:{resource}", account.unwrap_or("ACCOUNT"))
}

/// Of a bucket, or of objects below a prefix in it.
pub(super) fn of_bucket(region: &str, resource: &str) -> String {
    format!("arn:{}:s3:::{resource}", partition(region))
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_region_and_account_and_what_is_none_tells_nothing() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks";
        assert_eq!(parse(arn), Some(Arn { region: "eu-west-1", account: "123456789012" }));
        assert_eq!(parse("clicks"), None);
        assert_eq!(parse("urn:aws:kinesis:eu-west-1:123456789012:stream/clicks"), None);
    }

    #[test]
    fn an_arn_is_made_in_the_partition_of_its_region() {
        assert_eq!(of("kinesis", "cn-north-1", Some("1"), "stream/a"), "arn:aws-cn:kinesis:cn-north-1:1:stream/a");
        assert_eq!(of("dynamodb", "us-east-1", None, "table/a"), "arn:aws:dynamodb:us-east-1:ACCOUNT:table/a");
        assert_eq!(of_bucket("us-gov-west-1", "lake/*"), "arn:aws-us-gov:s3:::lake/*");
    }
}
