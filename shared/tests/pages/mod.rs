//! Pages of `docs/` with generated parts.

use std::{fs, path::PathBuf};

/// A file of the checkout.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Compares the generated parts of a page, each by the name in its marks, and answers the page. With `UPDATE_DOCS=1`, writes them.
pub(crate) fn check(name: &str, parts: &[(&str, String)]) -> String {
    let page = fs::read_to_string(path(name)).unwrap();
    let expected = parts.iter().fold(page.clone(), |page, (part, text)| replaced(&page, part, text));
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, no setting")]
    if std::env::var("UPDATE_DOCS").is_ok() {
        fs::write(path(name), &expected).unwrap();
    } else {
        assert!(page == expected, "{name} is not up to date: `make docs` writes it");
    }
    expected
}

/// The page with what stands between the marks of `part` replaced.
fn replaced(page: &str, part: &str, by: &str) -> String {
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}{by}{end}{after}")
}
