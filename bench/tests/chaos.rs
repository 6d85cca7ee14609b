//! A short chaos in every test run; `make chaos` plays longer ones.

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn a_short_chaos_loses_doubles_and_disorders_nothing() {
    let played = play(&["--clients", "80", "--kills", "3", "--seconds", "20"]);

    let said = String::from_utf8_lossy(&played.stdout);
    let complaint = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "{complaint}\n{said}");
    // What was played was worth playing.
    for figure in ["chaos.acknowledged", "chaos.delivered"] {
        let row = said.lines().find(|line| line.starts_with(&format!("| {figure} ")));
        let count = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
        let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or_default();
        assert!(count > 100, "{figure}: {said}");
    }
}

#[test]
fn control_what_clients_miss_who_forget_where_they_were_is_found() {
    let played = play(&["--clients", "40", "--kills", "1", "--seconds", "8", "--forgetful"]);

    let said = String::from_utf8_lossy(&played.stdout);
    assert!(!played.status.success(), "{said}");
    assert!(said.contains("chaos: lost: client "), "{said}");
}

fn play(options: &[&str]) -> Output {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    // `cargo test --workspace` builds it beside this one.
    let madang = bench.with_file_name("madang");
    assert!(madang.exists(), "{} is not built: run the whole workspace", madang.display());
    Command::new(bench)
        .arg("chaos")
        .args(options)
        .arg("--madang")
        .arg(madang)
        .output()
        .expect("the bench can be run")
}
