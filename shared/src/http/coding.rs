//! Content codings (RFC 9110, section 8.4). Requests ask for `identity`, but some servers compress all the same.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use http::{HeaderMap, header};
use hyper::body::Bytes;

use super::CallError;

/// The first two bytes of a gzip member.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Output buffer growth of a decoder, in bytes.
const STEP: usize = 16 * 1024;

/// Removes the codings that `headers` name from `body`, last one first. The result of each step is at most `most`
/// bytes.
///
/// Wrong labels are ignored: a body labelled gzip without gzip's first bytes is returned as it is, and so is a body
/// that cannot be decoded but begins like a JSON document.
///
/// # Errors
/// [`CallError::TooLong`], without decoding any further; [`CallError::Undecodable`].
pub(super) fn decoded(headers: &HeaderMap, body: Bytes, most: usize) -> Result<Bytes, CallError> {
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(body);
    }
    let named: Vec<String> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    named.iter().rev().try_fold(body, |body, coding| without(coding, body, most))
}

fn without(coding: &str, body: Bytes, most: usize) -> Result<Bytes, CallError> {
    if body.is_empty() {
        return Ok(body);
    }
    let decoded = match coding {
        "" | "identity" => return Ok(body),
        "gzip" | "x-gzip" if body.starts_with(GZIP) => gunzip(&body, most),
        "gzip" | "x-gzip" => return Ok(body),
        "deflate" => inflate(&body, most),
        _ => Err(CallError::Undecodable("unknown content coding")),
    };
    match decoded {
        Ok(decoded) => Ok(decoded.into()),
        Err(CallError::Undecodable(_)) if is_like_json(&body) => Ok(body),
        Err(error) => Err(error),
    }
}

/// Decodes all gzip members. Bytes after the last member are ignored, as browsers do.
fn gunzip(mut rest: &[u8], most: usize) -> Result<Vec<u8>, CallError> {
    let mut plain = Vec::new();
    while rest.starts_with(GZIP) {
        let mut member = GzDecoder::new(rest);
        let room = most.saturating_sub(plain.len()) as u64;
        let read = member.by_ref().take(room.saturating_add(1)).read_to_end(&mut plain);
        if plain.len() > most {
            return Err(CallError::TooLong);
        }
        read.map_err(|_| CallError::Undecodable("broken gzip"))?;
        rest = member.into_inner();
    }
    Ok(plain)
}

/// `deflate` is the zlib format by RFC 9110, but some servers send raw deflate.
fn inflate(body: &[u8], most: usize) -> Result<Vec<u8>, CallError> {
    match inflated(Decompress::new(true), body, most) {
        Err(CallError::Undecodable(_)) => inflated(Decompress::new(false), body, most),
        ended => ended,
    }
}

/// `flate2`'s readers are not used: they accept a truncated stream as a complete one.
fn inflated(mut stream: Decompress, body: &[u8], most: usize) -> Result<Vec<u8>, CallError> {
    let broken = CallError::Undecodable("broken deflate");
    let mut plain = Vec::new();
    loop {
        plain.reserve(STEP.min(most.saturating_add(1)));
        let before = (stream.total_in(), stream.total_out());
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = body.get(read..).unwrap_or_default();
        let status = stream.decompress_vec(rest, &mut plain, FlushDecompress::None).map_err(|_| broken)?;
        if plain.len() > most {
            return Err(CallError::TooLong);
        }
        if status == Status::StreamEnd {
            return Ok(plain);
        }
        if (stream.total_in(), stream.total_out()) == before {
            return Err(broken);
        }
    }
}

/// Whether the body begins with an object or an array, after an optional byte order mark and spaces.
fn is_like_json(body: &[u8]) -> bool {
    let text = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}
