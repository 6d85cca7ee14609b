//! The rules of the house that no compiler checks: where imports point, what a file looks like, what a migration may do,
//! what is no part of a page.
//!
//! Each rule is a function from files to complaints, so that a control can plant a violation and see it found.

#![expect(clippy::expect_used, reason = "test code")]

mod documents;
mod migrations;
mod pages;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FILE_LINES_MAX: usize = 600;

/// What each folder must not import: everything above it, and what stands beside it.
const ABOVE: [(&str, &[&str]); 7] = [
    (
        "domain",
        &[
            "accounts",
            "actors",
            "app",
            "cli",
            "clock",
            "config",
            "error",
            "http",
            "origin",
            "providers",
            "secrets",
            "signals",
            "store",
            "telemetry",
            "ws",
        ],
    ),
    ("store", &["accounts", "actors", "app", "cli", "error", "http", "providers", "ws"]),
    ("providers", &["accounts", "actors", "app", "cli", "error", "http", "store", "ws"]),
    ("actors", &["accounts", "app", "cli", "error", "http", "ws"]),
    ("accounts", &["app", "cli", "http", "ws"]),
    ("http", &["app", "cli"]),
    ("ws", &["app", "cli"]),
];

/// Where actix may be named: live things, the edge, and start-up.
const ACTIX_ROOMS: [&str; 6] =
    ["src/actors/", "src/ws/", "src/http/", "src/app/", "src/main.rs", "src/error/"];

/// Names that say nothing: a thing without a name has no home yet.
const NAMELESS: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "types", "misc", "manager"];

/// A source file: its path from the repository's root, with `/`, and its text.
struct SourceFile {
    path: String,
    text: String,
}

impl SourceFile {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn complaint(&self, what: &str) -> String {
        format!("{}: {what}", self.path)
    }
}

#[test]
fn imports_point_one_way() {
    assert_eq!(upward_imports(&sources(&["src"])), NONE);
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for text in [
        "use crate::http::Caller;",
        "use crate::{clock, http::{Caller, Problem}};",
        "fn f() { crate::http::f() }",
        "use super::super::http::Caller;",
        "use super::super::{config, http};",
    ] {
        let planted = [SourceFile::new("src/store/rooms.rs", text)];
        assert_eq!(upward_imports(&planted), ["src/store/rooms.rs: imports crate::http"], "{text}");
    }
}

#[test]
fn a_downward_import_a_comment_and_a_string_are_not_upward_imports() {
    let text = r##"
        //! Unlike crate::http, this
        use crate::{domain::{rooms, http}, config};
        use super::http;
        /* crate::ws /* nested */ crate::ws */
        const A: (&str, &str, char) = ("\" crate::http", r#"" crate::http"#, '"');
        fn f<'a>(a: &'a str) -> &'a str { a } // crate::http
    "##;

    assert_eq!(upward_imports(&[SourceFile::new("src/store/rooms.rs", text)]), NONE);
}

#[test]
fn the_domain_does_no_input_or_output() {
    assert_eq!(impure_domain(&sources(&["src/domain"])), NONE);
}

#[test]
fn a_domain_file_that_reads_the_clock_or_a_file_is_found() {
    for text in ["tokio::spawn(f)", "std::fs::read(p)", "Instant::now()", "jiff::Timestamp::now()"]
    {
        assert_eq!(impure_domain(&[SourceFile::new("src/domain/a.rs", text)]).len(), 1, "{text}");
    }
}

#[test]
fn actix_is_named_only_in_its_rooms() {
    assert_eq!(actix_elsewhere(&sources(&["src"])), NONE);
}

#[test]
fn actix_in_the_store_is_found() {
    for text in ["use actix::Addr;", "use actix_web::web;", "#[actix_rt::test] async fn f() {}"] {
        let planted = [
            SourceFile::new("src/store/rooms.rs", text),
            SourceFile::new("src/http/rooms.rs", text),
        ];
        assert_eq!(actix_elsewhere(&planted), ["src/store/rooms.rs: names actix"], "{text}");
    }
}

#[test]
fn databases_are_named_only_in_the_store() {
    assert_eq!(databases_elsewhere(&sources(&["src"])), NONE);
}

#[test]
fn a_database_in_a_handler_is_found() {
    for (library, text) in [
        ("sqlx", "let row = sqlx::query(\"SELECT 1\");"),
        ("rusqlite", "use rusqlite::Connection;"),
    ] {
        let planted = [
            SourceFile::new("src/http/rooms.rs", text),
            SourceFile::new("src/store/rooms.rs", text),
        ];

        let complaint = format!("src/http/rooms.rs: names {library}");
        assert_eq!(databases_elsewhere(&planted), [complaint]);
    }
}

#[test]
fn no_sql_is_declared_safe_instead_of_being_a_literal() {
    assert_eq!(naming(&sources(&["src", "bench/src"]), "AssertSqlSafe"), NONE);
}

#[test]
fn sql_that_is_declared_safe_is_found() {
    let planted = [SourceFile::new("src/store/a.rs", "db.execute(sqlx::AssertSqlSafe(sql))")];

    assert_eq!(naming(&planted, "AssertSqlSafe"), ["src/store/a.rs: names AssertSqlSafe"]);
}

#[test]
fn every_file_opens_with_what_it_owns() {
    assert_eq!(without_header(&all_sources()), NONE);
}

#[test]
fn a_file_without_a_header_is_found() {
    for text in ["", "use std::fs;\n", "// A plain comment.\n", "\n//! Too late.\n", "//!\n"] {
        assert_eq!(without_header(&[SourceFile::new("src/a.rs", text)]).len(), 1, "{text:?}");
    }
}

#[test]
fn no_file_is_longer_than_can_be_defended() {
    assert_eq!(too_long(&all_sources()), NONE);
}

#[test]
fn a_file_of_601_lines_is_found_and_one_of_600_is_not() {
    let planted = [
        SourceFile::new("src/long.rs", &"\n".repeat(FILE_LINES_MAX + 1)),
        SourceFile::new("src/fits.rs", &"\n".repeat(FILE_LINES_MAX)),
    ];

    assert_eq!(too_long(&planted), ["src/long.rs: has 601 lines"]);
}

#[test]
fn no_test_is_ignored() {
    assert_eq!(ignored_tests(&all_sources()), NONE);
}

#[test]
fn an_ignored_test_is_found_however_it_is_written() {
    for text in ["#[ignore]", "#[ignore = \"slow\"]", "#[ ignore ]", "#[cfg_attr(ci, ignore)]"] {
        assert_eq!(ignored_tests(&[SourceFile::new("tests/a.rs", text)]).len(), 1, "{text}");
    }
    let innocent = SourceFile::new("tests/a.rs", "fn f() { ignore() } // #[ignore]");
    assert_eq!(ignored_tests(&[innocent]), NONE);
}

#[test]
fn every_file_and_folder_has_a_name_that_says_something() {
    assert_eq!(nameless(&all_sources()), NONE);
}

#[test]
fn a_nameless_file_or_folder_is_found() {
    for path in ["src/utils.rs", "src/http/helpers.rs", "src/common/mod.rs", "tests/misc/a.rs"] {
        assert_eq!(nameless(&[SourceFile::new(path, "")]).len(), 1, "{path}");
    }
}

#[test]
fn the_rules_look_at_real_files() {
    let paths: Vec<String> = all_sources().into_iter().map(|file| file.path).collect();

    for path in ["src/lib.rs", "src/domain/mod.rs", "bench/src/main.rs", "tests/tidy/main.rs"] {
        assert!(paths.iter().any(|found| found == path), "{path} was not looked at");
    }
}

const NONE: [&str; 0] = [];

fn upward_imports(files: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let module = module_of(&file.path);
        let Some((_, above)) = ABOVE.iter().find(|(folder, _)| module.first() == Some(folder))
        else {
            continue;
        };
        for import in imports(&module, &code(&file.text)) {
            if above.contains(&import.as_str()) {
                complaints.push(file.complaint(&format!("imports crate::{import}")));
            }
        }
    }
    complaints
}

fn impure_domain(files: &[SourceFile]) -> Vec<String> {
    const IMPURE: [&str; 9] = [
        "tokio",
        "reqwest",
        "std::fs",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "Uuid::now_v7",
    ];

    let mut complaints = Vec::new();
    for file in files {
        let code = code(&file.text);
        for impure in IMPURE.iter().filter(|impure| code.contains(*impure)) {
            complaints.push(file.complaint(&format!("names {impure}")));
        }
    }
    complaints
}

fn actix_elsewhere(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| !ACTIX_ROOMS.iter().any(|room| file.path.starts_with(room)))
        .filter(|file| {
            words(&code(&file.text)).any(|word| word == "actix" || word.starts_with("actix_"))
        })
        .map(|file| file.complaint("names actix"))
        .collect()
}

fn databases_elsewhere(files: &[SourceFile]) -> Vec<String> {
    let mut complaints = naming(files, "sqlx");
    complaints.extend(naming(files, "rusqlite"));
    complaints.retain(|complaint| !complaint.starts_with("src/store/"));
    complaints
}

fn naming(files: &[SourceFile], name: &str) -> Vec<String> {
    files
        .iter()
        .filter(|file| words(&code(&file.text)).any(|word| word == name))
        .map(|file| file.complaint(&format!("names {name}")))
        .collect()
}

fn without_header(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.text.strip_prefix("//! ").is_none_or(|rest| rest.starts_with('\n')))
        .map(|file| file.complaint("does not open with `//!` and what it owns"))
        .collect()
}

fn too_long(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| file.complaint(&format!("has {lines} lines")))
        .collect()
}

fn ignored_tests(files: &[SourceFile]) -> Vec<String> {
    let ignores = |file: &&SourceFile| {
        let code = code(&file.text);
        let mut attributes = code.split("#[").skip(1).filter_map(|rest| rest.split(']').next());
        attributes.any(|attribute| words(attribute).any(|word| word == "ignore"))
    };
    files.iter().filter(ignores).map(|file| file.complaint("ignores a test")).collect()
}

fn nameless(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| {
            file.path.trim_end_matches(".rs").split('/').any(|part| NAMELESS.contains(&part))
        })
        .map(|file| file.complaint("has a name that says nothing"))
        .collect()
}

/// The module that a file below `src` is: `src/store/mod.rs` is `store`, `src/store/rooms.rs` is `store::rooms`.
fn module_of(path: &str) -> Vec<&str> {
    path.trim_start_matches("src/")
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| !["mod", "lib", "main"].contains(part))
        .collect()
}

/// The top-level modules of this crate that the code names, through `crate::` or enough `super::`.
fn imports(module: &[&str], code: &str) -> BTreeSet<String> {
    let tokens = tokens(code);
    let mut rest = tokens.as_slice();
    let mut found = BTreeSet::new();

    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let mut supers = usize::from(*token == "super");
        while let ["::", "super", after @ ..] = rest {
            supers += 1;
            rest = after;
        }
        let at_root = *token == "crate" || (supers > 0 && supers >= module.len());
        if let (true, ["::", after @ ..]) = (at_root, rest) {
            found.extend(first_names(after));
        }
    }
    found
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(tokens: &[&str]) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names = Vec::new();
    let mut at_start = true;
    for token in tokens {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 1 => at_start = true,
            name => {
                if at_start {
                    names.push(name.to_owned());
                }
                at_start = false;
            }
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character| !is_word(character)).filter(|word| !word.is_empty())
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Words, `::`, and every other character that is no space.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|character| !is_word(character)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// The text without comments, strings and character literals; each leaves a space.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside_word = code.chars().next_back().is_some_and(is_word);
        let length = comment_length(rest)
            .or_else(|| raw_string_length(rest).filter(|_| !inside_word))
            .or_else(|| string_length(rest))
            .or_else(|| character_length(rest));
        match length {
            Some(_) => code.push(' '),
            None => code.push(first),
        }
        rest = rest.split_at(length.unwrap_or(first.len_utf8())).1;
    }
    code
}

fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("/*") {
            depth += 1;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = after;
        } else {
            rest = rest.split_at(first.len_utf8()).1;
        }
        if depth == 0 {
            break;
        }
    }
    Some(text.len() - rest.len())
}

fn raw_string_length(text: &str) -> Option<usize> {
    let after_prefix = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let body = after_prefix.trim_start_matches('#');
    let hashes = after_prefix.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let after = body.split_once(end.as_str()).map_or("", |(_, after)| after);
    Some(text.len() - after.len())
}

fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (position, character) in text.strip_prefix('"')?.char_indices() {
        match character {
            '"' if !escaped => return Some(position + 2),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(text.len())
}

/// A character literal; `None` for a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let first = body.chars().next()?;
    let (skipped, rest) = if first == '\\' {
        (2, body.get(2..)?)
    } else {
        (first.len_utf8(), body.get(first.len_utf8()..)?)
    };
    let end = if first == '\\' { rest.find('\'')? } else { usize::from(!rest.starts_with('\'')) };
    (first == '\\' || end == 0).then_some(1 + skipped + end + 1)
}

fn all_sources() -> Vec<SourceFile> {
    sources(&["src", "bench/src", "tests"])
}

/// Every `.rs` file below the folders, sorted by path.
fn sources(folders: &[&str]) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, &mut files);
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn collect(folder: &str, files: &mut Vec<SourceFile>) {
    for name in names_in(folder) {
        let path = format!("{folder}/{name}");
        let place = root().join(&path);
        if place.is_dir() {
            collect(&path, files);
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(place).expect("a source file is UTF-8");
            files.push(SourceFile { path, text });
        }
    }
}

fn names_in(folder: &str) -> Vec<String> {
    fs::read_dir(root().join(folder))
        .expect("the folder exists")
        .map(|entry| entry.expect("the folder can be read").file_name())
        .map(|name| name.into_string().expect("a file name is UTF-8"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
