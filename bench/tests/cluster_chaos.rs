//! A short chaos on three nodes in every test run; `make chaos-cluster` plays longer ones.

use std::path::Path;
use std::process::Command;

/// Each of them must have been played.
const FAULTS: [&str; 9] = [
    "kill_node",
    "stop_node",
    "restart_redis",
    "cut_pubsub",
    "pause_redis",
    "restart_postgres",
    "partition_redis",
    "partition_postgres",
    "drain_node",
];

#[test]
fn a_short_chaos_on_three_nodes_loses_doubles_and_disorders_nothing() {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    // `cargo test --workspace` builds it beside this one.
    let madang = bench.with_file_name("madang");
    assert!(madang.exists(), "{} is not built: run the whole workspace", madang.display());

    let played = Command::new(bench)
        .args(["chaos-cluster", "--quick", "--madang"])
        .arg(madang)
        .output()
        .expect("the bench can be run");

    let said = String::from_utf8_lossy(&played.stdout);
    let complaint = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "{complaint}\n{said}");
    // What was played was worth playing.
    let count = |figure: &str| {
        let start = format!("| cluster_chaos.{figure} ");
        let row = said.lines().find(|line| line.starts_with(&start));
        let count = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
        count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    for fault in FAULTS {
        assert_eq!(count(fault), 1, "{fault}: {said}");
    }
    for figure in ["acknowledged", "delivered"] {
        assert!(count(figure) > 100, "{figure}: {said}");
    }
}
