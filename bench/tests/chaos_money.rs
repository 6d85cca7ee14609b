//! A short chaos of money in every test run, on either database; `make chaos-money` plays longer ones.

use std::path::Path;
use std::process::{Command, Output};

// One after the other: each has servers of its own, and the machine is small.
#[test]
fn a_short_chaos_loses_no_money_and_doubles_none() {
    for options in [&[][..], &["--sqlite"]] {
        let played = play(options);
        let said = String::from_utf8_lossy(&played.stdout);
        let complaint = String::from_utf8_lossy(&played.stderr);
        assert!(played.status.success(), "{complaint}\n{said}");
        // What was played was worth playing.
        let count = |figure: &str| {
            let start = format!("| chaos_money.{figure} ");
            let row = said.lines().find(|line| line.starts_with(&start));
            let count = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
            count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
        };
        assert_eq!((count("kills"), count("provider_kills")), (3, 1), "{said}");
        for figure in ["captured", "refunds", "withdrawals"] {
            assert!(count(figure) >= 5, "{figure}: {said}");
        }
        assert!(count("lost_answers") > 0, "{said}");
    }
}

#[test]
fn control_money_of_which_the_provider_knows_nothing_is_found() {
    let played = play(&["--sqlite", "--kills", "0", "--seconds", "4", "--forgetful"]);

    let said = String::from_utf8_lossy(&played.stdout);
    assert!(!played.status.success(), "{said}");
    assert!(said.contains("FAULT: chaos_money: unbalanced: "), "{said}");
}

fn play(options: &[&str]) -> Output {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    // `cargo test --workspace` builds it beside this one.
    let madang = bench.with_file_name("madang");
    assert!(madang.exists(), "{} is not built: run the whole workspace", madang.display());
    Command::new(bench)
        .args(["chaos-money", "--quick"])
        .args(options)
        .arg("--madang")
        .arg(madang)
        .output()
        .expect("the bench can be run")
}
