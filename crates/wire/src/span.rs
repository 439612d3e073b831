//! A piece of a buffer, by position.

/// Bytes `start..end` of the buffer that a head was parsed from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        // Heads are bounded far below 4 GiB by their limits.
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes; empty when `buf` is not the buffer that the span was made for.
    pub fn of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
