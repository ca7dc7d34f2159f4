//! A community that is written to a log, and load on it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::process::{BINARY, run};

fn succeeds(arguments: &[&str]) -> String {
    let (ok, out, error) = run(arguments);
    assert!(ok, "{arguments:?}: {error}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seeded_community_is_a_log_like_any_other_and_load_on_it_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = &folder.path().to_str().expect("UTF-8").to_owned();
    let seeded = succeeds(&["seed", "--users", "120", "--conversations", "300", "--messages", "5000", "--data", data]);
    assert!(seeded.starts_with("120 users, 300 conversations, 5000 messages: "), "{seeded}");
    let (ok, _, error) = run(&["seed", "--users", "2", "--data", data]);
    assert!(!ok && error.contains("the log has events"), "{error}");
    let (ok, _, error) = run(&["seed", "--users", "3", "--conversations", "4", "--data", data]);
    assert!(!ok && error.contains("at most"), "{error}");
    succeeds(&["verify", "--data", data]);

    let server = Server::in_folder(folder);
    succeeds(&["projections", "verify", "--data", data]);
    assert_eq!(succeeds(&["events", "--type", "MessageSent", "--data", data]).lines().count(), 5_000);
    assert_eq!(server.person("somebody").ask("{ users(first: 1) { edges { node { name } } } }").await["users"]["edges"][0]["node"]["name"], "Amina Arnaud");
    let measured = succeeds(&[
        "bench",
        "--url",
        &server.url,
        "--data",
        data,
        "--users",
        "130",
        "--clients",
        "8",
        "--duration",
        "1s",
        "--rate",
        "50",
        "--idle",
        "60",
        "--format",
        "jsonl",
    ]);
    let figures: Vec<Value> = measured.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let whats: Vec<&str> = figures.iter().map(|figure| figure["what"].as_str().expect("a name")).collect();
    assert_eq!(whats, ["lists", "histories", "paced sends", "deliveries", "sends", "resident"]);
    assert_eq!((&figures[2]["count"], &figures[3]["count"]), (&json!(50), &json!(50)), "each is delivered");
    for figure in &figures[..5] {
        assert!(figure["count"].as_u64() > Some(0) && figure["p50"].as_f64() <= figure["p99"].as_f64() && figure["shed"] == 0, "{figure}");
    }
    succeeds(&["projections", "verify", "--data", data]);
    for (url, told) in [("https://chat.example.com", "without TLS"), ("http://127.0.0.1:1", "cannot be reached")] {
        let (ok, _, error) = run(&["bench", "--url", url, "--data", data]);
        assert!(!ok && error.contains(told), "{error}");
    }
}

#[test]
fn load_is_made_on_a_service_of_its_own_where_none_is_named() {
    let table = succeeds(&["bench", "--users", "10", "--clients", "4", "--duration", "200ms", "--rate", "20"]);
    assert!(table.lines().count() == 7 && table.contains("deliveries") && table.contains("MiB after the load"), "{table}");
}

#[test]
fn a_service_of_its_own_leaves_alone_what_the_environment_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for more in [&[] as &[&str], &["--sizes", "200"]] {
        let mut command = Command::new(BINARY);
        command.args(["bench", "--users", "10", "--clients", "2", "--duration", "100ms", "--rate", "0"]).args(more);
        for name in ["LOG", "KEYS", "VIEWS"] {
            command.env(format!("ENTRENOUS_{name}"), format!("sqlite:{}", folder.path().join(name).display()));
        }
        let bench = command.output().expect("it runs");
        assert!(bench.status.success(), "{}", String::from_utf8_lossy(&bench.stderr));
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0, "{more:?}");
    }
}

#[test]
fn what_changes_with_more_messages_and_with_time_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let common = ["--users", "10", "--clients", "2", "--duration", "300ms", "--rate", "30"];
    let grown = succeeds(&[["bench", "--sizes", "200,2000", "--plot", &file("sizes.svg")].as_slice(), &common].concat());
    let rows: Vec<Vec<&str>> = grown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.len() == 3 && rows[1][0] == "200" && rows[2][0] == "2000" && rows[2].len() == 5, "{grown}");
    let soaked = succeeds(&[["bench", "--soak", "1s", "--format", "jsonl", "--plot", &file("soak.svg")].as_slice(), &common].concat());
    let steps: Vec<Value> = soaked.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!steps.is_empty() && steps.iter().all(|step| step["figures"]["memory, MiB"].as_f64() > Some(0.0)), "{soaked}");
    for (name, line) in [("sizes.svg", ">histories<"), ("soak.svg", ">delivery p99, ms<")] {
        let drawn = std::fs::read_to_string(file(name)).expect("a plot");
        assert!(drawn.starts_with("<svg ") && drawn.contains(line), "{drawn}");
    }
    let (ok, _, error) = run(&["bench", "--sizes", "10", "--url", "http://127.0.0.1:1"]);
    assert!(!ok && error.contains("cannot be used with"), "{error}");
}

#[test]
fn a_load_that_is_told_to_stop_removes_its_service_and_draws_what_it_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let (temporary, plot) = (folder.path().join("temporary"), folder.path().join("soak.svg"));
    std::fs::create_dir(&temporary).expect("made");
    let mut command = Command::new(BINARY);
    command.args(["bench", "--users", "10", "--clients", "2", "--duration", "200ms", "--rate", "30", "--soak", "10m", "--plot"]).arg(&plot);
    let mut bench = command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
    let mut lines = BufReader::new(bench.stdout.take().expect("its output")).lines();
    assert!(lines.by_ref().take(2).all(|line| line.is_ok()), "it measures");
    assert!(Command::new("kill").arg(bench.id().to_string()).status().expect("told").success());

    assert!(!bench.wait().expect("ended").success());
    assert_eq!(std::fs::read_dir(&temporary).expect("there").count(), 0);
    let speaks_of_it =
        |process: &Path| std::fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*temporary.to_string_lossy()));
    let left = std::fs::read_dir("/proc").expect("processes").filter(|entry| entry.as_ref().is_ok_and(|entry| speaks_of_it(&entry.path()))).count();
    assert_eq!(left, 0, "its service runs on");
    assert!(std::fs::read_to_string(&plot).expect("a plot").starts_with("<svg "));
}
