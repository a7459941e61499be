#!/usr/bin/env python3
"""Walks through `penstock local` with boto3, as an ordinary user would: local-smoke.py URL DIRECTORY

Needs boto3, a server started with its limits on, and the directory that its Firehose delivers to. Exits 0 if every
answer is what the service would give.
"""
import pathlib
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, directory = sys.argv[1], pathlib.Path(sys.argv[2])
keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "none", "region_name": "ap-northeast-1"}
once = Config(retries={"total_max_attempts": 1})
kinesis = boto3.client("kinesis", endpoint_url=url, config=once, **keys)
firehose = boto3.client("firehose", endpoint_url=url, config=once, **keys)
name = f"smoke-{int(time.time() * 1000)}"


def check(what, holds):
    print("ok  " if holds else "BAD ", what)
    if not holds:
        sys.exit(1)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        check(f"{call.__name__} is refused with {code}", error.response["Error"]["Code"] == code)
    else:
        check(f"{call.__name__} is refused with {code}", False)


def shards(**arguments):
    arguments = arguments or {"StreamName": name}
    return {shard["ShardId"]: shard for shard in kinesis.list_shards(**arguments)["Shards"]}


def iterator(shard, kind="TRIM_HORIZON", **more):
    asked = {"StreamName": name, "ShardId": shard, "ShardIteratorType": kind, **more}
    return kinesis.get_shard_iterator(**asked)["ShardIterator"]


def streams():
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)
    refused("ResourceInUseException", kinesis.create_stream, StreamName=name, ShardCount=1)
    description = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    arn = description["StreamARN"]
    check("DescribeStream", description["StreamStatus"] == "ACTIVE" and len(description["Shards"]) == 2)
    check("the Region is the signature's", arn.startswith("arn:aws:kinesis:ap-northeast-1:"))
    summary = kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
    check("DescribeStreamSummary by ARN", summary["OpenShardCount"] == 2 and summary["RetentionPeriodHours"] == 24)
    check("ListStreams", name in kinesis.list_streams()["StreamNames"])
    refused("ResourceNotFoundException", kinesis.describe_stream, StreamName=name + "-no")


def records():
    put = kinesis.put_record(StreamName=name, Data=b"first", PartitionKey="a", ExplicitHashKey="0")
    check("PutRecord", put["ShardId"] == "shardId-000000000000" and len(put["SequenceNumber"]) == 56)
    batch = [{"Data": f"r{i}".encode(), "PartitionKey": f"å{i}"} for i in range(500)]
    answer = kinesis.put_records(StreamName=name, Records=batch)
    check("PutRecords", answer["FailedRecordCount"] == 0 and len(answer["Records"]) == 500)
    got = []
    for shard in shards():
        page = kinesis.get_records(ShardIterator=iterator(shard))
        check(f"GetRecords of {shard} at the tip", page["MillisBehindLatest"] == 0 and "NextShardIterator" in page)
        got += [(record["Data"], record["PartitionKey"]) for record in page["Records"]]
    check("all records are read", len(got) == 501 and (b"r7", "å7") in got and (b"first", "a") in got)
    after = iterator(put["ShardId"], "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=put["SequenceNumber"])
    at = iterator(put["ShardId"], "AT_SEQUENCE_NUMBER", StartingSequenceNumber=put["SequenceNumber"])
    check("AT and AFTER", kinesis.get_records(ShardIterator=at, Limit=1)["Records"][0]["Data"] == b"first"
          and kinesis.get_records(ShardIterator=after, Limit=1)["Records"][0]["Data"] != b"first")
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator=at, Limit=10001)
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="AAAA")
    time.sleep(1)
    arrived = time.time() - 0.5
    when = iterator(put["ShardId"], "AT_TIMESTAMP", Timestamp=arrived)
    check("AT_TIMESTAMP", kinesis.get_records(ShardIterator=when)["Records"] == [])
    latest = iterator(put["ShardId"], "LATEST")
    kinesis.put_record(StreamName=name, Data=b"new", PartitionKey="a", ExplicitHashKey="0")
    check("LATEST", [r["Data"] for r in kinesis.get_records(ShardIterator=latest)["Records"]] == [b"new"])


def limits():
    position, throttled = iterator("shardId-000000000001"), 0
    for _ in range(10):
        try:
            kinesis.get_records(ShardIterator=position)
        except kinesis.exceptions.ProvisionedThroughputExceededException:
            throttled += 1
    check(f"five GetRecords a second ({throttled} of 10 refused)", throttled >= 5)
    big = [{"Data": b"x" * 700_000, "PartitionKey": "k"} for _ in range(4)]
    answer = kinesis.put_records(StreamName=name, Records=big)
    codes = {record.get("ErrorCode") for record in answer["Records"]}
    check("1 MiB/s into a shard", answer["FailedRecordCount"] == 3
          and codes == {None, "ProvisionedThroughputExceededException"})
    refused("ValidationException", kinesis.put_record, StreamName=name, Data=b"x" * 1_048_577, PartitionKey="k")


def resharding():
    time.sleep(1)
    first = shards()["shardId-000000000000"]
    middle = str(int(first["HashKeyRange"]["EndingHashKey"]) // 2)
    kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=middle)
    kinesis.merge_shards(StreamName=name, ShardToMerge="shardId-000000000003",
                         AdjacentShardToMerge="shardId-000000000001")
    listed = shards()
    check("split and merge", listed["shardId-000000000002"]["ParentShardId"] == "shardId-000000000000"
          and listed["shardId-000000000004"]["AdjacentParentShardId"] == "shardId-000000000001"
          and "EndingSequenceNumber" in listed["shardId-000000000000"]["SequenceNumberRange"])
    page = kinesis.get_records(ShardIterator=iterator("shardId-000000000000"))
    children = [child["ShardId"] for child in page.get("ChildShards", [])]
    check("the end of a shard", "NextShardIterator" not in page
          and children == ["shardId-000000000002", "shardId-000000000003"])
    answer = kinesis.update_shard_count(StreamName=name, TargetShardCount=3, ScalingType="UNIFORM_SCALING")
    latest = shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})
    starts = sorted(int(shard["HashKeyRange"]["StartingHashKey"]) for shard in latest.values())
    check("UpdateShardCount", (answer["CurrentShardCount"], len(latest)) == (2, 3)
          and starts == [i * 2**128 // 3 for i in range(3)])
    page, token = [], kinesis.list_shards(StreamName=name, MaxResults=2)
    page += token["Shards"]
    while "NextToken" in token:
        token = kinesis.list_shards(NextToken=token["NextToken"], MaxResults=2)
        page += token["Shards"]
    check("ListShards pages by token", [shard["ShardId"] for shard in page] == sorted(shards()))


def management():
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=48)
    refused("InvalidArgumentException", kinesis.increase_stream_retention_period, StreamName=name,
            RetentionPeriodHours=24)
    kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    kinesis.add_tags_to_stream(StreamName=name, Tags={"team": "a"})
    check("tags", kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "team", "Value": "a"}])
    check("DescribeLimits", kinesis.describe_limits()["OpenShardCount"] >= 3)
    refused("UnknownOperationException", kinesis.list_stream_consumers, StreamARN="arn:aws:kinesis:x:000000000000:stream/x")
    old = iterator("shardId-000000000001")
    kinesis.delete_stream(StreamName=name)
    refused("ResourceNotFoundException", kinesis.get_records, ShardIterator=old)


def delivery():
    s3 = {"RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": f"arn:aws:s3:::{name}",
          "Prefix": "clicks/", "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0}}
    firehose.create_delivery_stream(DeliveryStreamName=name, DeliveryStreamType="DirectPut",
                                    ExtendedS3DestinationConfiguration=s3)
    described = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
    extended = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    check("DescribeDeliveryStream", described["DeliveryStreamStatus"] == "ACTIVE"
          and extended["ProcessingConfiguration"]["Enabled"] is False)
    check("ListDeliveryStreams", name in firehose.list_delivery_streams()["DeliveryStreamNames"])
    check("PutRecord", firehose.put_record(DeliveryStreamName=name, Record={"Data": b"one\n"})["RecordId"])
    answer = firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": b"two\n"}, {"Data": b"three\n"}])
    check("PutRecordBatch", answer["FailedPutCount"] == 0 and len(answer["RequestResponses"]) == 2)
    refused("ValidationException", firehose.put_record, DeliveryStreamName=name, Record={"Data": b"x" * 1_024_001})
    refused("InvalidArgumentException", firehose.put_record_batch, DeliveryStreamName=name,
            Records=[{"Data": b"x" * 1_000_000}] * 5)
    time.sleep(1)
    files = sorted(path for path in (directory / name / "clicks").rglob("*") if path.is_file())
    content = b"".join(path.read_bytes() for path in files)
    check(f"delivered to {files[0]}", content.split() == [b"one", b"two", b"three"])
    firehose.delete_delivery_stream(DeliveryStreamName=name)
    refused("ResourceNotFoundException", firehose.describe_delivery_stream, DeliveryStreamName=name)


for walk in (streams, records, limits, resharding, management, delivery):
    print(f"-- {walk.__name__}")
    walk()
