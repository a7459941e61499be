//! Records that were set aside, as lines of JSON in the shape that Firehose gives what it could not deliver, with stream,
//! shard and position beside.
//!
//! Nothing in a line depends on a clock: attempts are 1, and the attempt's end is either known per record or the intent's
//! time, which is filled in when the lines are complete.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_core::position::RecordPosition;
use penstock_core::prefix::ErrorOutputType;
use penstock_core::time::UnixMillis;
use penstock_engine::ports::{SetAsideReason, ShardIdentity};

/// One record to set aside, borrowed.
pub(crate) struct Aside<'a> {
    pub(crate) position: &'a RecordPosition,
    pub(crate) arrival: UnixMillis,
    pub(crate) data: &'a [u8],
    pub(crate) reason: &'a SetAsideReason,
}

/// Lines without the one time that is not known yet.
#[derive(Default)]
pub(crate) struct ErrorLines {
    text: Vec<u8>,
    /// Where the attempt's end belongs: offsets into `text`, ascending.
    holes: Vec<usize>,
}

impl ErrorLines {
    /// Appends the line of one record.
    pub(crate) fn push(&mut self, shard: &ShardIdentity, aside: &Aside<'_>) {
        let Aside { position, arrival, data, reason } = aside;
        let (code, message) = (json(reason.as_str()), json(&message_of(reason)));
        self.text.extend_from_slice(
            format!(
                "{{\"attemptsMade\":1,\"arrivalTimestamp\":{},\"errorCode\":{code},\"errorMessage\":{message},\
                 \"attemptEndingTimestamp\":",
                arrival.0
            )
            .as_bytes(),
        );
        self.holes.push(self.text.len());
        self.text.extend_from_slice(b",\"rawData\":\"");
        let start = self.text.len();
        let encoded = base64::encoded_len(data.len(), true).expect("a record is far below the address space");
        self.text.resize(start + encoded, 0);
        STANDARD.encode_slice(data, &mut self.text[start..]).expect("the room is the encoded length");
        let (stream, shard) = (json(shard.stream.as_str()), json(shard.shard.as_str()));
        self.text.extend_from_slice(
            format!(
                "\",\"stream\":{stream},\"shard\":{shard},\"sequence\":\"{}\",\"subsequence\":{}}}\n",
                position.sequence, position.subsequence
            )
            .as_bytes(),
        );
    }

    /// Hands the lines to `sink` in slices, with the end of the `n`th record's attempt from `ending(n)`.
    pub(crate) fn write(&self, ending: impl Fn(usize) -> UnixMillis, mut sink: impl FnMut(&[u8])) {
        let mut from = 0;
        for (index, hole) in self.holes.iter().enumerate() {
            sink(&self.text[from..*hole]);
            sink(ending(index).0.to_string().as_bytes());
            from = *hole;
        }
        sink(&self.text[from..]);
    }

    /// The bytes of the lines, their times included: a time has 13 digits until the year 2286.
    pub(crate) fn len(&self) -> u64 {
        (self.text.len() + 13 * self.holes.len()) as u64
    }

    /// The bytes held in memory.
    pub(crate) fn memory(&self) -> u64 {
        (self.text.capacity() + size_of::<usize>() * self.holes.capacity()) as u64
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("every string has a JSON form")
}

fn message_of(reason: &SetAsideReason) -> String {
    match reason {
        SetAsideReason::OutsideHashRange => {
            "the hash of its partition key lies outside the shard that its aggregate came through".to_owned()
        }
        SetAsideReason::TooLarge { bytes, limit } => {
            format!("the record has {bytes} bytes, the sink takes at most {limit}")
        }
        SetAsideReason::Rejected { code, message } => format!("{code}: {message}"),
    }
}

/// Where records with this reason go.
pub(crate) fn error_output_type(reason: &SetAsideReason) -> ErrorOutputType {
    if reason.error_output_type() == ErrorOutputType::ProcessingFailed.as_str() {
        ErrorOutputType::ProcessingFailed
    } else {
        ErrorOutputType::DeliveryFailed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lines(asides: &[(SetAsideReason, &[u8])]) -> Vec<Value> {
        let shard = ShardIdentity {
            stream: "clicks".into(),
            lease: "shardId-000000000003".into(),
            shard: "shardId-000000000003".into(),
        };
        let mut lines = ErrorLines::default();
        for (index, (reason, data)) in asides.iter().enumerate() {
            let position = RecordPosition::parse(&format!("4950/{index}")).unwrap();
            let aside = Aside { position: &position, arrival: UnixMillis(1_700_000_000_000), data, reason };
            lines.push(&shard, &aside);
        }
        let mut text = Vec::new();
        lines.write(|index| UnixMillis(1_700_000_000_100 + index as i64), |slice| text.extend_from_slice(slice));
        assert_eq!(text.len() as u64, lines.len());
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_shape_of_firehose_and_names_the_record() {
        assert_eq!(
            lines(&[(SetAsideReason::TooLarge { bytes: 5, limit: 4 }, b"hello")]),
            [json!({
                "attemptsMade": 1,
                "arrivalTimestamp": 1_700_000_000_000_i64,
                "errorCode": "too_large",
                "errorMessage": "the record has 5 bytes, the sink takes at most 4",
                "attemptEndingTimestamp": 1_700_000_000_100_i64,
                "rawData": "aGVsbG8=",
                "stream": "clicks",
                "shard": "shardId-000000000003",
                "sequence": "4950",
                "subsequence": 0,
            })]
        );
    }

    #[test]
    fn each_line_gets_its_own_time_and_any_text_is_escaped() {
        let rejected = SetAsideReason::Rejected { code: "X".to_owned(), message: "a \"quote\"\nand a line".to_owned() };
        let lines = lines(&[(rejected, &[0, 255]), (SetAsideReason::OutsideHashRange, b"")]);
        assert_eq!(lines[0]["errorMessage"], "X: a \"quote\"\nand a line");
        assert_eq!(lines[0]["rawData"], "AP8=");
        assert_eq!(lines[1]["attemptEndingTimestamp"], 1_700_000_000_101_i64);
        assert_eq!((&lines[1]["rawData"], &lines[1]["subsequence"]), (&json!(""), &json!(1)));
    }

    #[test]
    fn reasons_go_where_firehose_puts_them() {
        let too_large = SetAsideReason::TooLarge { bytes: 2, limit: 1 };
        assert_eq!(error_output_type(&SetAsideReason::OutsideHashRange), ErrorOutputType::ProcessingFailed);
        assert_eq!(error_output_type(&too_large), ErrorOutputType::DeliveryFailed);
    }
}
