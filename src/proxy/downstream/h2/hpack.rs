//! Reads the field blocks of an HTTP/2 client (HPACK, RFC 7541) for one purpose: to find a `#` in
//! `:path`.
//!
//! A request target has no fragment (RFC 9113 section 8.3.1), but the HTTP server cuts one off
//! silently, and its output does not show that there was one. So the bytes are inspected before the
//! server reads them: a `#` becomes a `>`, which has as many bits in both codings and is invalid in
//! a target, so the server resets only that stream as malformed.
//!
//! This needs the dynamic table, but only the sizes of its entries, and which of them are named
//! `:path`.

use std::collections::VecDeque;

use super::guard::{CONTINUATION, HEADERS, Heads, PREFACE};

/// The initial size of the dynamic table, which we never raise (RFC 9113 section 6.5.2).
const TABLE_SIZE: usize = 4096;
/// The size of an entry besides its name and value (RFC 7541 section 4.1).
const ENTRY: usize = 32;
/// Lengths of the names in the static table (RFC 7541 appendix A).
const STATIC_NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// The indices of `:path` in the static table.
const STATIC_PATHS: [usize; 2] = [4, 5];

/// The numbers of Huffman codes with 0, 1, 2 and more bits (RFC 7541 appendix B). The code is
/// canonical, so this defines all of it except the symbols.
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
/// The first code of each length.
const FIRST: [u32; 31] = {
    let mut first = [0; 31];
    let mut bits = 1;
    while bits < 31 {
        first[bits] = (first[bits - 1] + CODES[bits - 1]) << 1;
        bits += 1;
    }
    first
};

/// A symbol: its byte, and its code with the number of bits.
type Symbol = (u8, u32, usize);

/// The code of `>` is that of `#` with its last bit set.
const HASH: Symbol = (b'#', 0xffa, 12);
const NAME: [Symbol; 5] = [
    (b':', 0x5c, 7),
    (b'p', 0x2b, 6),
    (b'a', 0x3, 5),
    (b't', 0x9, 5),
    (b'h', 0x27, 6),
];

/// Searches the bytes of a client for `#` in request targets.
#[derive(Debug)]
pub(super) struct Targets {
    heads: Heads,
    frame: Frame,
    fields: Fields,
    /// Set once the bytes are not valid HPACK. The HTTP server then ends the connection.
    lost: bool,
}

/// The position of the next byte in the payload of a HEADERS or CONTINUATION frame.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// The length of the padding comes next.
    padded: bool,
    /// Bytes of the priority that are still to come.
    priority: usize,
    /// Bytes of the padding.
    padding: usize,
    /// The block ends with the frame.
    ends: bool,
}

/// The position of the next byte in a field block, and the dynamic table.
#[derive(Debug, Default)]
struct Fields {
    step: Step,
    line: Line,
    table: VecDeque<Entry>,
    size: usize,
    /// The difference between [`TABLE_SIZE`] and the size that the client has chosen.
    shrunk: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: usize,
    size: usize,
    is_path: bool,
}

/// The field line at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// It goes into the dynamic table.
    kept: bool,
    name: usize,
    is_path: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    /// Before a field line.
    #[default]
    Line,
    /// In an integer of several bytes.
    Integer(Meaning, usize, u32),
    /// Before a string.
    String(Part),
    /// In a string.
    Text(Text),
}

/// The meaning of an integer.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// The index of a whole field.
    Indexed,
    /// The size of the dynamic table.
    Resize,
    /// The index of the name of a literal field.
    Name,
    /// The length of a string, which may be Huffman-coded.
    Length(Part, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

#[derive(Clone, Copy, Debug)]
struct Text {
    part: Part,
    huffman: bool,
    /// Bytes that are still to come.
    left: usize,
    /// Characters so far.
    length: usize,
    /// They are those of `:path`.
    is_path: bool,
    /// Bits of a code that is not complete.
    code: u32,
    bits: usize,
}

/// The bytes are not valid HPACK.
#[derive(Debug)]
struct Malformed;

impl Targets {
    pub(super) fn new() -> Self {
        let (frame, fields) = (Frame::default(), Fields::default());
        Self {
            heads: Heads::new(PREFACE.len()),
            frame,
            fields,
            lost: false,
        }
    }

    /// Scans the next bytes, and replaces each `#` in a request target by `>`. Returns true if
    /// there was one.
    pub(super) fn scan(&mut self, mut bytes: &mut [u8]) -> bool {
        let mut found = false;
        while !self.lost && !bytes.is_empty() {
            // The preface is not the payload of a frame: no frame head has been read yet.
            if self.heads.skip > 0 {
                let (payload, rest) = bytes.split_at_mut(self.heads.skip.min(bytes.len()));
                if matches!(self.heads.kind(), HEADERS | CONTINUATION) {
                    match self.payload(payload) {
                        Ok(hash) => found |= hash,
                        Err(Malformed) => self.lost = true,
                    }
                }
                self.heads.skip -= payload.len();
                bytes = rest;
                continue;
            }

            let mut rest: &[u8] = bytes;
            let head = self.heads.next(&mut rest);
            let taken = bytes.len() - rest.len();
            bytes = &mut bytes[taken..];
            if let Some((kind, flags)) = head {
                self.begin(kind, flags);
            }
        }
        found
    }

    fn begin(&mut self, kind: u8, flags: u8) {
        const END_HEADERS: u8 = 4;
        const PADDED: u8 = 8;
        const PRIORITY: u8 = 32;
        self.frame = Frame {
            ends: flags & END_HEADERS != 0,
            ..Frame::default()
        };
        if kind == HEADERS {
            self.frame.padded = flags & PADDED != 0;
            self.frame.priority = if flags & PRIORITY != 0 { 5 } else { 0 };
        }
    }

    /// Scans a piece of a payload of which [`Heads::skip`] bytes remained.
    fn payload(&mut self, mut bytes: &mut [u8]) -> Result<bool, Malformed> {
        let mut left = self.heads.skip;
        if std::mem::take(&mut self.frame.padded) {
            let Some((padding, rest)) = bytes.split_first_mut() else {
                return Ok(false);
            };
            self.frame.padding = usize::from(*padding);
            (bytes, left) = (rest, left - 1);
            if self.frame.padding + self.frame.priority > left {
                return Err(Malformed);
            }
        }
        let priority = self.frame.priority.min(bytes.len());
        self.frame.priority -= priority;
        (bytes, left) = (&mut bytes[priority..], left - priority);

        let fragment = left.saturating_sub(self.frame.padding + self.frame.priority);
        let piece = fragment.min(bytes.len());
        let found = self.fields.read(&mut bytes[..piece])?;
        if self.frame.ends && piece == fragment && !matches!(self.fields.step, Step::Line) {
            return Err(Malformed);
        }
        Ok(found)
    }
}

impl Fields {
    /// Reads a piece of a block. Returns true if there was a `#` in `:path`.
    fn read(&mut self, bytes: &mut [u8]) -> Result<bool, Malformed> {
        let (mut found, mut at) = (false, 0);
        while at < bytes.len() {
            let Step::Text(mut text) = self.step else {
                self.byte(bytes[at])?;
                at += 1;
                continue;
            };
            let end = bytes.len().min(at.saturating_add(text.left));
            found |= text.read(&mut bytes[at..end], self.line);
            text.left -= end - at;
            at = end;

            self.step = Step::Text(text);
            if text.left == 0 {
                self.end_text(text);
            }
        }
        Ok(found)
    }

    /// Reads a byte outside of a string.
    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        match self.step {
            Step::Line => {
                let (meaning, prefix) = match byte {
                    0x80.. => (Meaning::Indexed, 7),
                    0x40.. => (Meaning::Name, 6),
                    0x20.. => (Meaning::Resize, 5),
                    _ => (Meaning::Name, 4),
                };
                self.line = Line {
                    kept: byte & 0xc0 == 0x40,
                    ..Line::default()
                };
                self.integer(meaning, byte, prefix)
            }
            Step::String(part) => self.integer(Meaning::Length(part, byte & 0x80 != 0), byte, 7),
            Step::Integer(meaning, value, shift) => {
                // A longer integer exceeds every valid value.
                if shift > 28 {
                    return Err(Malformed);
                }
                let value = value + (usize::from(byte & 0x7f) << shift);
                if byte & 0x80 == 0 {
                    return self.known(meaning, value);
                }
                self.step = Step::Integer(meaning, value, shift + 7);
                Ok(())
            }
            Step::Text(_) => Ok(()),
        }
    }

    /// Begins an integer with a prefix of so many bits (RFC 7541 section 5.1).
    fn integer(&mut self, meaning: Meaning, first: u8, prefix: u32) -> Result<(), Malformed> {
        let max = (1 << prefix) - 1;
        let value = usize::from(first) & max;

        if value < max {
            return self.known(meaning, value);
        }

        self.step = Step::Integer(meaning, value, 0);
        Ok(())
    }

    fn known(&mut self, meaning: Meaning, value: usize) -> Result<(), Malformed> {
        self.step = match meaning {
            Meaning::Indexed => Step::Line,
            Meaning::Resize => {
                self.shrunk = TABLE_SIZE.checked_sub(value).ok_or(Malformed)?;
                self.evict(0);
                Step::Line
            }
            Meaning::Name if value == 0 => Step::String(Part::Name),
            Meaning::Name => {
                (self.line.name, self.line.is_path) = self.name(value).ok_or(Malformed)?;
                Step::String(Part::Value)
            }
            Meaning::Length(part, huffman) => {
                let text = Text {
                    part,
                    huffman,
                    left: value,
                    length: 0,
                    is_path: true,
                    code: 0,
                    bits: 0,
                };
                if value == 0 {
                    self.end_text(text);
                    return Ok(());
                }
                Step::Text(text)
            }
        };
        Ok(())
    }

    /// Returns the length of the name at an index, and true if it is `:path`.
    fn name(&self, index: usize) -> Option<(usize, bool)> {
        if let Some(length) = STATIC_NAMES.get(index.checked_sub(1)?) {
            return Some((usize::from(*length), STATIC_PATHS.contains(&index)));
        }
        self.table
            .get(index - STATIC_NAMES.len() - 1)
            .map(|entry| (entry.name, entry.is_path))
    }

    fn end_text(&mut self, text: Text) {
        if text.part == Part::Name {
            (self.line.name, self.line.is_path) =
                (text.length, text.is_path && text.length == NAME.len());
            self.step = Step::String(Part::Value);
            return;
        }

        self.step = Step::Line;
        let Line {
            kept,
            name,
            is_path,
        } = self.line;
        if kept {
            let size = name + text.length + ENTRY;
            self.evict(size);
            // An entry that is larger than the table only empties it.
            if self.size + size <= TABLE_SIZE - self.shrunk {
                self.size += size;
                self.table.push_front(Entry {
                    name,
                    size,
                    is_path,
                });
            }
        }
    }

    /// Makes room for an entry of this size (RFC 7541 section 4.4).
    fn evict(&mut self, size: usize) {
        while self.size + size > TABLE_SIZE - self.shrunk {
            let Some(oldest) = self.table.pop_back() else {
                return;
            };
            self.size -= oldest.size;
        }
    }
}

impl Text {
    /// Reads a piece of the string of a line. Returns true if the line is `:path` and there was a
    /// `#`.
    fn read(&mut self, bytes: &mut [u8], line: Line) -> bool {
        let replace = self.part == Part::Value && line.is_path;
        if self.part == Part::Value && !line.kept && !replace {
            return false;
        }

        let mut found = false;
        if !self.huffman {
            for byte in bytes {
                self.take(|(symbol, ..)| symbol == *byte);
                if replace && *byte == HASH.0 {
                    *byte = b'>';
                    found = true;
                }
            }
            return found;
        }
        for byte in bytes {
            for bit in (0..8).rev() {
                self.code = self.code << 1 | u32::from(*byte >> bit & 1);
                self.bits += 1;

                // Bits that are not a code are padding, or malformed.
                let Some(codes) = CODES.get(self.bits) else {
                    continue;
                };
                if self.code.wrapping_sub(FIRST[self.bits]) >= *codes {
                    continue;
                }

                let (code, bits) = (self.code, self.bits);
                self.take(|(_, of, length)| (of, length) == (code, bits));
                (self.code, self.bits) = (0, 0);
                if replace && (code, bits) == (HASH.1, HASH.2) {
                    *byte |= 1 << bit;
                    found = true;
                }
            }
        }
        found
    }

    /// Notes a character.
    fn take(&mut self, is: impl Fn(Symbol) -> bool) {
        self.is_path &= NAME.get(self.length).is_some_and(|symbol| is(*symbol));
        self.length += 1;
    }
}

#[cfg(test)]
mod tests;
