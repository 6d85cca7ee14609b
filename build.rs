//! Says when what is compiled in has changed.
//!
//! The web app is read from `web/dist` when the library is compiled: a release that was built before it, or with an older
//! one, has to be compiled again. A debug build reads the folder while it runs, and compiles nothing for it.

use std::path::Path;

const BUILT: &str = "web/dist";
/// Where it will appear: a path that is not there would be a change each time.
const ABOVE: &str = "web";

fn main() {
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let watched = match is_release {
        false => "build.rs",
        true if Path::new(BUILT).exists() => BUILT,
        true => ABOVE,
    };
    println!("cargo::rerun-if-changed={watched}");
}
