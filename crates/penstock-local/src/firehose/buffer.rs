//! What a delivery stream has taken and not yet written: one open buffer, closed by size or by age. Pure.

use std::time::Duration;

use crate::clock::Time;

/// Records on their way into one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Arrival of the oldest record.
    pub(crate) opened: Time,
    pub(crate) content: Vec<u8>,
}

/// The open buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    open: Option<Filled>,
    bytes: u64,
    interval: Duration,
}

impl Buffer {
    /// A buffer that closes at `bytes` or `interval` after its first record.
    pub(crate) fn new(bytes: u64, interval: Duration) -> Self {
        Self { open: None, bytes, interval }
    }

    /// Appends a record; gives the buffer away if that filled it.
    pub(crate) fn append(&mut self, record: &[u8], newline: bool, now: Time) -> Option<Filled> {
        let open = self.open.get_or_insert_with(|| Filled { opened: now, content: Vec::new() });
        open.content.extend_from_slice(record);
        if newline {
            open.content.push(b'\n');
        }
        if open.content.len() as u64 >= self.bytes { self.open.take() } else { None }
    }

    /// Gives the buffer away if it is old enough, or if `all` is to be written.
    pub(crate) fn due(&mut self, all: bool, now: Time) -> Option<Filled> {
        self.open.take_if(|open| all || now.since(open.opened) >= self.interval)
    }

    /// Bytes in the open buffer.
    pub(crate) fn len(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.content.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_buffer_closes_by_size() {
        let mut buffer = Buffer::new(6, Duration::from_secs(60));
        assert_eq!(buffer.append(b"abc", false, at(0)), None);
        let filled = buffer.append(b"de", true, at(1)).unwrap();
        assert_eq!(filled, Filled { opened: at(0), content: b"abcde\n".to_vec() });
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn a_buffer_closes_by_the_age_of_its_first_record() {
        let mut buffer = Buffer::new(1000, Duration::from_secs(60));
        assert_eq!(buffer.due(false, at(500)), None);
        buffer.append(b"a", false, at(0));
        buffer.append(b"b", false, at(59));
        assert_eq!(buffer.due(false, at(59)), None);
        assert_eq!(buffer.due(false, at(60)).unwrap().content, b"ab");
        buffer.append(b"c", false, at(61));
        assert_eq!(buffer.due(true, at(61)).unwrap().content, b"c");
        assert_eq!(buffer.due(true, at(61)), None);
    }
}
