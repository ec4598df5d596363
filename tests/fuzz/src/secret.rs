//! Replaces a secret in JSON that may be malformed.

/// Replaces the value of `name`, keeping its length and its last two characters, which a mask shows. `None` if `name`
/// has no string value or one shorter than 8 bytes, which a mask hides entirely.
pub(crate) fn replaced(text: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let start = text.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = text.get(start..)?;
    let opening = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':')?;
    if rest.get(opening) != Some(&b'"')
        || rest.get(..opening)?.iter().filter(|byte| **byte == b':').count() != 1
    {
        return None;
    }
    let first = start + opening + 1;
    let length = text.get(first..)?.iter().position(|byte| *byte == b'"')?;
    let value = text.get(first..first + length)?;
    if length < 8 || !value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\') {
        return None;
    }
    let mut other = text.to_vec();
    for byte in other.get_mut(first..first + length - 2)? {
        *byte = if *byte == b'7' { b'3' } else { b'7' };
    }
    Some(other)
}
