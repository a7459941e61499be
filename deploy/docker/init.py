"""Creates what the workers of docker-compose.yml read from and write to, and ends; again is no harm.

The services' addresses are in AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_FIREHOSE, which boto3
reads itself. The lease table is penstock's own to create.
"""
import os

import boto3
from botocore.config import Config

stream, shards = os.environ["STREAM"], int(os.environ["SHARDS"])
bucket, delivery_stream = os.environ["BUCKET"], os.environ["DELIVERY_STREAM"]

kinesis = boto3.client("kinesis")
if stream not in kinesis.list_streams()["StreamNames"]:
    kinesis.create_stream(StreamName=stream, ShardCount=shards)
kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})

s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
if bucket not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)

firehose = boto3.client("firehose")
if delivery_stream not in firehose.list_delivery_streams()["DeliveryStreamNames"]:
    firehose.create_delivery_stream(
        DeliveryStreamName=delivery_stream,
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::111122223333:role/firehose",
            "BucketARN": f"arn:aws:s3:::{bucket}",
            "Prefix": "by-firehose/",
        },
    )
print(f"stream {stream}, bucket {bucket} and delivery stream {delivery_stream} are there", flush=True)
