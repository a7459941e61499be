//! The building stones of an encoded intent: numbers, texts, options, sequence numbers; each with what it refuses.

use crate::position::{MAX_SEQUENCE_DIGITS, SequenceNumber};

/// A field of an intent breaks the rules of its version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its field {field} cannot be read: {problem}")]
pub struct Malformed {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

/// The number of digits, then two digits a byte; of an odd number the last half is `f`.
pub(super) fn put_sequence(out: &mut Vec<u8>, sequence: &SequenceNumber) {
    let digits = sequence.as_str().as_bytes();
    put_number(out, digits.len() as u64);
    for pair in digits.chunks(2) {
        let low = pair.get(1).map_or(0xf, |digit| digit - b'0');
        out.push((pair[0] - b'0') << 4 | low);
    }
}

/// What of a body is not read yet, and the field that is being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    field: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body, field: "" }
    }

    /// Names the field that is read from here on.
    pub(super) const fn field(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> Malformed {
        Malformed { field: self.field, problem: problem.into() }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed(format!("it needs {count} bytes, {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(self.malformed("the number is above 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let shortest = byte != 0 || shift == 0;
                return if shortest {
                    Ok(number)
                } else {
                    Err(self.malformed("the number is longer than it needs to be"))
                };
            }
        }
        Err(self.malformed("the number is above 64 bits"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of things that follow, each of at least one byte.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(fits) if fits <= self.rest.len() => Ok(fits),
            _ => Err(self.malformed(format!("{count} are announced, {} bytes are left", self.rest.len()))),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("it is not UTF-8"))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.malformed(format!("{other} is neither 0 nor 1"))),
        }
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn sequence(&mut self) -> Result<SequenceNumber, Malformed> {
        let digits = self.number()?;
        let Some(digits) = usize::try_from(digits).ok().filter(|digits| *digits <= MAX_SEQUENCE_DIGITS) else {
            return Err(self.malformed(format!("no sequence number has {digits} digits")));
        };
        let packed = self.take(digits.div_ceil(2))?;
        let mut text: String =
            packed.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(|half| char::from(half + b'0')).collect();
        // The half that fills up an odd number shows as the character behind `9` that 15 gives.
        if digits % 2 == 1 && text.pop() != Some(char::from(0xf + b'0')) {
            return Err(self.malformed("the last half byte of a sequence number is not filled up"));
        }
        SequenceNumber::parse(&text).map_err(|error| self.malformed(error.to_string()))
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(format!("{} bytes follow upon it", self.rest.len())))
        }
    }
}
