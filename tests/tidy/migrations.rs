//! Rules of migrations: each has its twin in the other dialect, and works beside the release before it.
//!
//! During a deploy the old release serves on the new schema. So a migration only adds (expand); what nobody uses any
//! more is taken away one release later (contract), in a file whose first line says of which release.

use std::collections::BTreeSet;
use std::fs;

use crate::{NONE, names_in, root};

/// Before it, no release existed that could serve beside another.
const FIRST_BESIDE_OTHERS: &str = "0006";
/// The first line of a migration that takes something away.
const CONTRACT: &str = "-- Contract: not used since ";
/// What the release before would miss, or stumble over.
const TAKES_AWAY: [&str; 7] = [
    "DROP TABLE",
    "DROP COLUMN",
    "DROP INDEX",
    "RENAME TO",
    "RENAME COLUMN",
    "ALTER COLUMN",
    "DROP CONSTRAINT",
];

#[test]
fn every_migration_has_its_twin_in_the_other_dialect() {
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));

    assert!(!sqlite.is_empty());
    assert_eq!(without_twin(&sqlite, &postgres), NONE);
}

#[test]
fn a_migration_in_one_dialect_only_is_found() {
    let one = BTreeSet::from(["0001_a.sql".to_owned(), "0002_b.sql".to_owned()]);
    let other = BTreeSet::from(["0001_a.sql".to_owned()]);

    assert_eq!(without_twin(&one, &other), ["0002_b.sql"]);
    assert_eq!(without_twin(&other, &one), ["0002_b.sql"]);
}

#[test]
fn no_migration_takes_away_what_the_release_before_uses() {
    for dialect in ["sqlite", "postgres"] {
        for name in migrations(dialect) {
            let path = root().join(format!("migrations/{dialect}/{name}"));
            let text = fs::read_to_string(path).expect("a migration is UTF-8");
            assert_eq!(taken_away(&name, &text), NONE, "{dialect}");
        }
    }
}

#[test]
fn a_migration_that_takes_something_away_is_found_unless_it_says_of_which_release() {
    let drop = "-- Why.\nALTER TABLE users\n    DROP   column bio;\n";
    let add = "-- Why.\nALTER TABLE users ADD COLUMN city TEXT;\n";
    let late = "ALTER TABLE users ADD COLUMN city TEXT NOT NULL;";
    let contract = format!("{CONTRACT}0.2.0.\n{drop}");

    assert_eq!(taken_away("0007_a.sql", drop), ["0007_a.sql: DROP COLUMN"]);
    assert_eq!(taken_away("0007_a.sql", late), ["0007_a.sql: NOT NULL without a default"]);
    assert_eq!(taken_away("0007_a.sql", add), NONE);
    assert_eq!(taken_away("0007_a.sql", &contract), NONE);
    assert_eq!(taken_away("0005_a.sql", drop), NONE, "nobody served beside it");
}

fn without_twin(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    one.symmetric_difference(other).cloned().collect()
}

fn taken_away(name: &str, text: &str) -> Vec<String> {
    if name < FIRST_BESIDE_OTHERS || text.starts_with(CONTRACT) {
        return Vec::new();
    }
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join(" ").to_uppercase();
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = TAKES_AWAY.iter().filter(|word| code.contains(*word));
    let mut found: Vec<String> = words.map(|word| (*word).to_owned()).collect();
    // The release before inserts rows without it.
    let is_strict = |statement: &str| {
        statement.contains("ADD COLUMN")
            && statement.contains("NOT NULL")
            && !statement.contains("DEFAULT")
    };
    if code.split(';').any(is_strict) {
        found.push("NOT NULL without a default".to_owned());
    }
    found.into_iter().map(|what| format!("{name}: {what}")).collect()
}

fn migrations(dialect: &str) -> BTreeSet<String> {
    names_in(&format!("migrations/{dialect}")).into_iter().collect()
}
