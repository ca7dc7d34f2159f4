//! The public clients and tools that front ends use, run against the service: `tests/clients/*.test.mjs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::BINARY;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs one file of tests; they start the service themselves.
fn pass(name: &str) {
    assert!(folder().join("node_modules").is_dir(), "the clients are missing: run dev/test, or `npm ci` in tests/clients");
    let mut node = Command::new("node");
    node.args(["--test", "--test-timeout=600000", "--test-force-exit"]).arg(format!("{name}.test.mjs")).current_dir(folder()).env("ENTRENOUS_BINARY", BINARY);
    // The same operations each time; others by another seed.
    node.env("FUZZ_SEED", std::env::var("FUZZ_SEED").unwrap_or_else(|_| "1".to_owned()));
    let output = node.output().expect("node");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

macro_rules! clients {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            pass(stringify!($name));
        })+

        #[test]
        fn every_file_of_tests_is_run() {
            let mut known = vec![$(format!("{}.test.mjs", stringify!($name))),+];
            known.sort();
            let entries = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
            let mut found: Vec<String> = entries.filter(|name| name.ends_with(".test.mjs")).collect();
            found.sort();
            assert_eq!(known, found);
        }
    };
}

clients!(apollo, browser, codegen, eslint, fuzz, graphql_http, graphql_sse, graphql_ws, guide, relay, urql);
