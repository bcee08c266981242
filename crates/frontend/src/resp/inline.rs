//! Commands typed by people: words between blanks, with quotes.

use bytes::{Bytes, BytesMut};

use super::frame::{Request, Span, span};
use crate::text::hex_byte;

/// A quote that is not closed, or is closed in the middle of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line into words: their bytes, and in `spans` where each lies in them.
pub(super) fn split(line: &[u8], spans: &mut Vec<Span>) -> Result<Bytes, Unbalanced> {
    let mut words = BytesMut::with_capacity(line.len());
    let mut rest = line.trim_ascii();
    while let Some(&first) = rest.first() {
        let start = words.len();
        rest = match first {
            b'"' => double_quoted(&rest[1..], &mut words)?,
            b'\'' => single_quoted(&rest[1..], &mut words)?,
            _ => plain(rest, &mut words)?,
        };
        spans.push(span(start, words.len() - start));
        match rest.first() {
            Some(next) if !next.is_ascii_whitespace() => return Err(Unbalanced),
            _ => rest = rest.trim_ascii_start(),
        }
    }
    Ok(words.freeze())
}

/// Whether this is the head of an HTTP request: what a page in a browser can make a victim send here.
pub(super) fn is_http(request: &Request<'_>) -> bool {
    let first = request.arg(0);
    let last = request.arg(request.len().wrapping_sub(1));
    first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:") || last.starts_with(b"HTTP/")
}

fn plain<'a>(text: &'a [u8], words: &mut BytesMut) -> Result<&'a [u8], Unbalanced> {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.iter().any(|b| matches!(b, b'"' | b'\'')) {
        return Err(Unbalanced);
    }
    words.extend_from_slice(word);
    Ok(rest)
}

fn single_quoted<'a>(mut text: &'a [u8], words: &mut BytesMut) -> Result<&'a [u8], Unbalanced> {
    loop {
        text = match text {
            [b'\\', b'\'', rest @ ..] => keep(b'\'', rest, words),
            [b'\'', rest @ ..] => return Ok(rest),
            [byte, rest @ ..] => keep(*byte, rest, words),
            [] => return Err(Unbalanced),
        }
    }
}

fn double_quoted<'a>(mut text: &'a [u8], words: &mut BytesMut) -> Result<&'a [u8], Unbalanced> {
    loop {
        text = match text {
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                keep(hex_byte(*high, *low), rest, words)
            }
            [b'\\', escaped, rest @ ..] => keep(unescape(*escaped), rest, words),
            [b'"', rest @ ..] => return Ok(rest),
            [byte, rest @ ..] => keep(*byte, rest, words),
            [] => return Err(Unbalanced),
        }
    }
}

fn keep<'a>(byte: u8, rest: &'a [u8], words: &mut BytesMut) -> &'a [u8] {
    words.extend_from_slice(&[byte]);
    rest
}

const fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut spans = Vec::new();
        let bytes = split(line, &mut spans).ok()?;
        Some(spans.iter().map(|s| bytes[s.start as usize..][..s.len as usize].to_vec()).collect())
    }

    #[test]
    fn words_quotes_and_escapes() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \r\n", &[]),
            (b"get  a\r\n", &[b"get", b"a"]),
            (b"set k \"\"\n", &[b"set", b"k", b""]),
            (br#"set "a b" 'c "d"'"#, &[b"set", b"a b", b"c \"d\""]),
            (br#"set "\x00\xfF\n\q" '\'\n'"#, &[b"set", b"\x00\xff\nq", b"'\\n"]),
            (br#""\xg0""#, &[b"xg0"]),
            (b"a\0b \xff", &[b"a\0b", b"\xff"]),
        ];
        for (line, expected) in table {
            let got = words(line).unwrap_or_else(|| panic!("{}", line.escape_ascii()));
            assert_eq!(got, *expected, "{}", line.escape_ascii());
        }
        for bad in [r#"set "a"#, r#"set 'a"#, r#"set "a"b"#, r#"set a"b""#, r#""\"#] {
            assert_eq!(words(bad.as_bytes()), None, "{bad}");
        }
    }
}
