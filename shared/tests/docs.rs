//! What the pages of the repository name must exist: linked files and headings, paths in backticks, targets of `make`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Decisions are history: what they name may be gone. Their links are checked all the same.
const HISTORY: &str = "docs/decisions/";

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

/// Folders of a folder, without hidden ones and without what is built or installed.
fn folders(of: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        !name.starts_with('.') && !["target", "node_modules", "__pycache__"].contains(&name)
    };
    folders.filter(is_source).collect()
}

/// All files with this extension: path from the root, and text.
fn texts(extension: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut left = vec![root()];
    while let Some(folder) = left.pop() {
        left.extend(folders(&folder));
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|found| found == extension)) {
            let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            texts.insert(name, fs::read_to_string(file).unwrap());
        }
    }
    texts
}

/// All pages.
fn pages() -> BTreeMap<String, String> {
    let pages = texts("md");
    assert!(pages.contains_key("README.md") && pages.contains_key("docs/how-to.md"));
    pages
}

/// A page's lines outside of fenced code blocks, and those inside.
fn prose_and_code(page: &str) -> (String, String) {
    let (mut prose, mut code) = (String::new(), String::new());
    for (at, part) in page.split("\n```").enumerate() {
        // The rest of a fence's own line is its language.
        let text = part.split_once('\n').filter(|_| at > 0).map_or(part, |(_, text)| text);
        let into = if at % 2 == 0 { &mut prose } else { &mut code };
        into.push_str(text);
        into.push('\n');
    }
    (prose, code)
}

/// What stands in backticks. No span goes beyond its paragraph.
fn spans(prose: &str) -> Vec<&str> {
    prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2)).collect()
}

/// Targets of inline links and pictures.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (prose, _) = prose_and_code(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (name, page) in &pages {
        let (prose, _) = prose_and_code(page);
        for link in links(&prose).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { root().join(name) } else { root().join(name).with_file_name(file) };
            let Ok(target) = fs::canonicalize(&target) else {
                wrong.push(format!("{name}: no file for {link}"));
                continue;
            };
            let target = target.strip_prefix(root()).unwrap().to_str().unwrap();
            let has_anchor = |page: &String| anchors(page).contains(anchor);
            if !anchor.is_empty() && !pages.get(target).is_some_and(has_anchor) {
                wrong.push(format!("{name}: no heading for {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`; a path with a placeholder (`*`, `<name>`, `…`) up to the folder before it.
fn alternatives(path: &str) -> Vec<String> {
    if let Some((before, (middle, after))) =
        path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        return middle.split(',').flat_map(|one| alternatives(&format!("{before}{one}{after}"))).collect();
    }
    let known = path.split(['*', '<', '…']).next().unwrap_or_default();
    let known = if known.len() < path.len() {
        known.rsplit_once('/').map_or("", |(folder, _)| folder)
    } else {
        known
    };
    vec![known.to_owned()]
}

#[test]
fn every_path_in_backticks_exists() {
    let top: Vec<_> = folders(&root());
    let is_path = |span: &&str| {
        let first = span.split_once('/').map(|(first, _)| root().join(first));
        !span.contains(char::is_whitespace) && first.is_some_and(|first| top.contains(&first))
    };
    let mut wrong = Vec::new();
    for (name, page) in pages().iter().filter(|(name, _)| !name.starts_with(HISTORY)) {
        let (prose, _) = prose_and_code(page);
        for path in spans(&prose).into_iter().filter(is_path).flat_map(alternatives) {
            if !root().join(&path).exists() {
                wrong.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The words of a command that follow the word `make`; none of its comment.
fn targets(command: &str) -> Vec<&str> {
    let words: Vec<_> = command.split('#').next().unwrap_or_default().split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "make").map(|pair| pair[1]).collect()
}

#[test]
fn every_target_of_make_that_a_page_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let known: BTreeSet<_> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (name, page) in pages().iter().filter(|(name, _)| !name.starts_with(HISTORY)) {
        let (prose, code) = prose_and_code(page);
        let indented = prose.lines().filter(|line| line.starts_with("    "));
        let all = spans(&prose).into_iter().chain(code.lines()).chain(indented).flat_map(targets);
        wrong.extend(
            all.filter(|target| !known.contains(target)).map(|target| format!("{name}: make {target}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_that_a_page_cites_exists() {
    let code: String = texts("rs").into_values().collect();
    let is_test = |span: &str| span.contains("::") && span.matches('_').count() > 3;
    let mut wrong = Vec::new();
    for (name, page) in pages().iter().filter(|(name, _)| !name.starts_with(HISTORY)) {
        let (prose, _) = prose_and_code(page);
        for test in spans(&prose).into_iter().filter(|span| is_test(span)) {
            let function = test.rsplit("::").next().unwrap_or_default();
            if !code.contains(&format!("fn {function}(")) {
                wrong.push(format!("{name}: {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (lines, words) = (readme.lines().count(), readme.split_whitespace().count());
    assert!(lines <= 130 && words <= 900, "{lines} lines, {words} words");
}
