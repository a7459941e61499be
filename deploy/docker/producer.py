"""Writes RATE records a second into STREAM until it is stopped: clicks in JSON, from a few hundred customers.

What is refused is sent again; says every ten seconds how many it wrote.
"""
import itertools
import json
import os
import random
import signal
import sys
import time

import boto3

stream, rate = os.environ["STREAM"], int(os.environ["RATE"])
kinesis = boto3.client("kinesis")
numbers = itertools.count()


def click():
    customer = f"customer-{random.randrange(300)}"
    body = {"number": next(numbers), "customer": customer, "time": time.time(), "page": random.choice(["/", "/cart", "/item"])}
    return {"PartitionKey": customer, "Data": json.dumps(body).encode()}


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
written, told = 0, time.monotonic()
while True:
    begun = time.monotonic()
    records = [click() for _ in range(min(rate, 500))]
    while records:
        answers = kinesis.put_records(StreamName=stream, Records=records)["Records"]
        refused = [record for record, answer in zip(records, answers) if "ErrorCode" in answer]
        written += len(records) - len(refused)
        records = refused
        if refused:
            time.sleep(0.2)
    if time.monotonic() - told >= 10:
        told = time.monotonic()
        print(f"{written} records", flush=True)
    time.sleep(max(0, min(rate, 500) / rate - (time.monotonic() - begun)))
