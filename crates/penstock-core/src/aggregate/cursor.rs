//! A cursor over the fields of a protobuf message, by ranges of the buffer that it lies in. Copies nothing, trusts nothing.

use super::message::AggregateProblem;
use crate::chunk::Span;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    Bytes(Span),
    /// A fixed number of four or eight bytes. No field that we know is one.
    Fixed,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) value: Value,
}

impl Field {
    pub(super) const fn varint(self) -> Result<u64, AggregateProblem> {
        match self.value {
            Value::Varint(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed => Err(AggregateProblem::WrongWireType),
        }
    }

    pub(super) const fn bytes(self) -> Result<Span, AggregateProblem> {
        match self.value {
            Value::Bytes(span) => Ok(span),
            Value::Varint(_) | Value::Fixed => Err(AggregateProblem::WrongWireType),
        }
    }
}

/// What of a message is not read yet.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    buffer: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// The fields of the message that lies at `message`, a range of the buffer.
    pub(super) const fn new(buffer: &'a [u8], message: Span) -> Self {
        let at = message.start as usize;
        Self { buffer, at, end: at + message.len as usize }
    }

    /// The next field; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field>, AggregateProblem> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| AggregateProblem::BadTag)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(AggregateProblem::BadTag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.fixed(8)?,
            2 => Value::Bytes(self.bytes()?),
            5 => self.fixed(4)?,
            3 | 4 => return Err(AggregateProblem::Group),
            _ => return Err(AggregateProblem::BadTag),
        };
        Ok(Some(Field { number, value }))
    }

    fn varint(&mut self) -> Result<u64, AggregateProblem> {
        let mut number = 0;
        for (index, &byte) in self.buffer[self.at..self.end].iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(AggregateProblem::LongVarint);
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(if self.end - self.at < 10 { AggregateProblem::Truncated } else { AggregateProblem::LongVarint })
    }

    fn bytes(&mut self) -> Result<Span, AggregateProblem> {
        let len = self.varint()?;
        let left = (self.end - self.at) as u64;
        if len > left {
            return Err(AggregateProblem::Truncated);
        }
        // Both lie within a buffer below 4 GiB.
        let span = Span { start: self.at as u32, len: len as u32 };
        self.at += len as usize;
        Ok(span)
    }

    fn fixed(&mut self, len: usize) -> Result<Value, AggregateProblem> {
        if len > self.end - self.at {
            return Err(AggregateProblem::Truncated);
        }
        self.at += len;
        Ok(Value::Fixed)
    }
}
