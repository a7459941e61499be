//! Records: their sequence numbers and order, what comes back of what was put, and which shard they go to.

use penstock_engine::ports::OpenAt;
use serde_json::json;

use crate::stream::{Outcome, Stream, base64, check, now, said, shard};

pub(crate) async fn sequence_numbers_have_the_length_of_the_services(stream: Stream) -> Outcome {
    let (_, sequence) = stream.put("one", 0);
    check(sequence.as_str().len() == 56, format!("{sequence} has {} digits", sequence.as_str().len()))
}

pub(crate) async fn records_come_in_the_order_of_their_sequence_numbers(stream: Stream) -> Outcome {
    let data = ["a", "b", "c", "d", "e", "f"];
    let put = stream.put_all(&data);
    check(put.is_sorted_by(|one, other| one < other), format!("{put:?}"))?;
    let read = stream.read(0, &OpenAt::TrimHorizon).await?;
    check(read.data == data && read.sequences == put, format!("{read:?}"))
}

pub(crate) async fn what_was_put_comes_back(stream: Stream) -> Outcome {
    let every_byte: Vec<u8> = (0..=255).collect();
    let records = [(every_byte.as_slice(), "k"), (b"", "ключ 🔑"), (b"\x00", "\"\\")];
    let before = now();
    let entries: Vec<_> =
        records.iter().map(|(data, key)| json!({"Data": base64(data), "PartitionKey": key})).collect();
    let answer = stream.call("PutRecords", json!({"Records": entries}));
    check(answer["FailedRecordCount"] == 0, format!("{answer}"))?;
    let fetched = stream.fetch_from(0, &OpenAt::TrimHorizon, 10).await.map_err(said)?;
    check(fetched.chunk.len() == 3, format!("{} records", fetched.chunk.len()))?;
    for (index, (data, key)) in records.iter().enumerate() {
        let record = fetched.chunk.record(index);
        check(record.data == *data && record.partition_key == *key, format!("{record:?}"))?;
        let arrival = record.arrival.0;
        check((before.0 - 1000..now().0 + 1000).contains(&arrival), format!("arrived {arrival}"))?;
        check(record.sequence == answer["Records"][index]["SequenceNumber"], "another sequence number")?;
    }
    Ok(())
}

pub(crate) async fn an_explicit_hash_key_decides_the_shard(stream: Stream) -> Outcome {
    for listing in stream.shards().await? {
        for key in [listing.hash_range.start, listing.hash_range.end] {
            let (to, _) = stream.put("x", key);
            check(to == listing.id, format!("{key} went to {to}, not {}", listing.id))?;
        }
    }
    for number in 0..3 {
        let read = stream.read(number, &OpenAt::TrimHorizon).await?;
        check(read.data.len() == 2, format!("{} has {}", shard(number), read.data.len()))?;
    }
    Ok(())
}

pub(crate) async fn a_partition_key_decides_by_its_md5(stream: Stream) -> Outcome {
    // MD5 of "a" begins with 0c, that of "b" with 92.
    for (key, number) in [("a", 0), ("b", 1)] {
        let answer = stream.call("PutRecord", json!({"PartitionKey": key, "Data": "eA=="}));
        check(answer["ShardId"] == shard(number).as_str(), format!("{key}: {answer}"))?;
    }
    Ok(())
}

pub(crate) async fn a_put_of_more_than_500_records_is_refused(stream: Stream) -> Outcome {
    let records: Vec<_> = (0..501).map(|_| json!({"PartitionKey": "k", "Data": "eA=="})).collect();
    let (status, answer) = stream.try_call("PutRecords", &json!({"StreamName": stream.name, "Records": records}));
    check(status == 400, format!("{status} {}", answer["FailedRecordCount"]))
}
