//! A short chaos of notifications in every test run, on either database; `make chaos-notify` plays longer ones.

use std::path::Path;
use std::process::Command;

// One after the other: each has servers of its own, and the machine is small.
#[test]
fn a_short_chaos_tells_everybody_once_on_every_medium() {
    play(&[]);
    play(&["--sqlite"]);
}

fn play(options: &[&str]) {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    // `cargo test --workspace` builds it beside this one.
    let madang = bench.with_file_name("madang");
    assert!(madang.exists(), "{} is not built: run the whole workspace", madang.display());

    let played = Command::new(bench)
        .args(["chaos-notify", "--quick"])
        .args(options)
        .arg("--madang")
        .arg(madang)
        .output()
        .expect("the bench can be run");

    let said = String::from_utf8_lossy(&played.stdout);
    let complaint = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "{complaint}\n{said}");
    // What was played was worth playing: 40 people, 4 sendings, 3 kills.
    let count = |figure: &str| {
        let start = format!("| chaos_notify.{figure} ");
        let row = said.lines().find(|line| line.starts_with(&start));
        let count = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
        count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    assert_eq!(count("kills"), 3, "{said}");
    for medium in ["mail", "sms", "push"] {
        assert!(count(&format!("taken_{medium}")) >= 160, "{medium}: {said}");
    }
    assert!(count("taken_webhook") >= 4, "{said}");
    let troubles = ["failed", "put_off", "closed_before", "closed_after", "hung"];
    assert!(troubles.iter().map(|trouble| count(trouble)).sum::<u64>() > 10, "{said}");
}
