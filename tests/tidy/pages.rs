//! What the policy of the pages does not let in, and a browser would leave out without a word to whoever wrote it
//! (`src/http/gateway/security_headers.rs`): whatever is written into a page instead of being a file of its own.

use std::fs;

use crate::{NONE, SourceFile, names_in, root};

/// In a component, what stays in the page that is built from it.
const WRITTEN_INTO: [(&str, &str); 3] = [
    ("style=\"", "writes a style into the page; use a class or `style:`"),
    ("{@html", "makes text a part of the page"),
    ("javascript:", "writes a script into the page"),
];

#[test]
fn pages_have_nothing_written_into_them() {
    let pages = pages();

    assert!(pages.iter().any(|page| page.path == "web/index.html"), "no page was looked at");
    assert_eq!(written_into(&pages), NONE);
}

#[test]
fn what_is_written_into_a_page_is_found() {
    for text in ["<script>run()</script>", "<style>a{}</style>", "<a href=\"javascript:run()\">"] {
        assert_eq!(written_into(&[SourceFile::new("web/a.html", text)]).len(), 1, "{text}");
    }
    for text in ["<p style=\"color:red\">", "{@html text}"] {
        assert_eq!(written_into(&[SourceFile::new("web/src/A.svelte", text)]).len(), 1, "{text}");
    }
    let fine = "<script lang=\"ts\">let wide = 1;</script><p style:width={wide}><style>p{}</style>";
    assert_eq!(written_into(&[SourceFile::new("web/src/A.svelte", fine)]), NONE);
    let fine = "<script type=\"module\" src=\"/a.js\"></script>";
    assert_eq!(written_into(&[SourceFile::new("web/a.html", fine)]), NONE);
}

fn written_into(pages: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in pages {
        let found = WRITTEN_INTO.iter().filter(|(what, _)| page.text.contains(what));
        complaints.extend(found.map(|(_, complaint)| page.complaint(complaint)));
        // The build takes scripts and styles out of components.
        if !page.path.ends_with(".html") {
            continue;
        }
        let mut scripts =
            page.text.split("<script").skip(1).filter_map(|rest| rest.split('>').next());
        if scripts.any(|attributes| !attributes.contains(" src=")) {
            complaints.push(page.complaint("has a script that is no file"));
        }
        if page.text.contains("<style") {
            complaints.push(page.complaint("has a style that is no file"));
        }
    }
    complaints
}

/// The pages, and the components that they are built from.
fn pages() -> Vec<SourceFile> {
    let names = names_in("web");
    let pages = names.iter().filter(|name| name.ends_with(".html"));
    let mut files: Vec<_> = pages.map(|name| read("web", name)).collect();
    collect("web/src", &mut files);
    files
}

fn collect(folder: &str, files: &mut Vec<SourceFile>) {
    for name in names_in(folder) {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            collect(&path, files);
        } else if name.ends_with(".svelte") {
            files.push(read(folder, &name));
        }
    }
}

fn read(folder: &str, name: &str) -> SourceFile {
    let path = format!("{folder}/{name}");
    let text = fs::read_to_string(root().join(&path)).expect("a page is UTF-8");
    SourceFile { path, text }
}
