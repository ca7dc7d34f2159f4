//! The commands, as an operator types them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::process::{BINARY, run};
use crate::support::{Person, Server};

#[test]
fn c4_on_an_open_address_it_needs_a_key_and_says_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let path = data.to_str().expect("UTF-8");
    let (ok, _, error) = run(&["serve", "--listen", "0.0.0.0:0", "--data", path]);
    assert!(!ok && error.contains("--token-secret-file") && error.contains("ENTRENOUS_TOKEN_JWKS"), "{error}");
    assert!(!data.exists(), "nothing was made");
    for command in [&["serve"] as &[&str], &["token", "alice"]] {
        let (ok, _, error) = run(&[command, &["--data", path, "--token-secret", "short"]].concat());
        assert!(!ok && error.contains("at least 32 bytes"), "{command:?}: {error}");
    }
    for option in ["--token-audience", "--token-issuer"] {
        let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", path, option, "chat"]);
        assert!(!ok && error.contains("set the key that verifies them"), "{option}: {error}");
    }
    for filter in ["warning", "", "info,verbose"] {
        let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", path, "--trace", filter]);
        assert!(!ok && error.contains("is no level"), "{filter:?}: {error}");
    }
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("token.key"), "").expect("as a full disk leaves it");
    for command in [&["serve", "--listen", "127.0.0.1:0"] as &[&str], &["token", "alice"]] {
        let (ok, _, error) = run(&[command, &["--data", path]].concat());
        assert!(!ok && error.contains("token.key") && error.contains("at least 32 bytes"), "{command:?}: {error}");
    }
}

#[tokio::test]
async fn with_a_key_there_is_no_sign_in_by_name() {
    let secret = "a secret of at least thirty-two bytes";
    let server = Server::start_with(&["--token-secret", secret]);
    for page in ["graphiql?as=alice", "sign-in"] {
        assert_eq!(reqwest::get(format!("{}/{page}", server.url)).await.expect("an answer").status(), 404, "{page}");
    }
    let (ok, token, _) = run(&["token", "alice", "--token-secret", secret, "--role", "admin", "--name", "Alice"]);
    assert!(ok);
    let alice = Person::new("alice", token.trim().to_owned(), &server.url);
    assert_eq!(alice.ask("{ me { name } }").await["me"]["name"], "Alice");
    alice.templates(2, 2).await;
    assert!(!server.file("token.key").exists());
}

#[tokio::test]
async fn in_development_mode_one_signs_in_by_name() {
    let server = Server::start();
    let response = reqwest::Client::new().post(format!("{}/sign-in", server.url)).json(&json!({ "name": "Jean Dupont" })).send().await;
    let signed_in: Value = response.expect("an answer").json().await.expect("JSON");
    assert_eq!(signed_in["userId"], "jean-dupont");
    let jean = Person::new("jean-dupont", signed_in["token"].as_str().expect("a token").to_owned(), &server.url);
    assert_eq!(jean.ask("{ me { name } }").await["me"]["name"], "Jean Dupont");
    let from_elsewhere = reqwest::Client::new().post(format!("{}/sign-in", server.url)).header("host", "evil.example").json(&json!({ "name": "Jean" }));
    assert_eq!(from_elsewhere.send().await.expect("an answer").status(), 400);
    let page = reqwest::get(format!("{}/graphiql?as=%3Cscript%3EJean", server.url)).await.expect("a page");
    assert!(page.headers()["content-security-policy"].to_str().is_ok_and(|policy| policy.contains("script-src 'nonce-")));
    let text = page.text().await.expect("HTML");
    assert!(text.contains("graphiql") && !text.contains("<script>Jean"));
    for (path, status) in [("/", 200), ("/health/live", 200), ("/health/ready", 200), ("/graphiql", 200), ("/nowhere", 404)] {
        assert_eq!(reqwest::get(format!("{}{path}", server.url)).await.expect("an answer").status(), status, "{path}");
    }
}

#[test]
fn a_token_is_for_a_user_a_while_and_a_role() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    for (arguments, complaint) in [
        (vec!["token", "not an id"], "user id"),
        (vec!["token", "alice", "--ttl", "0s"], "lasts longer"),
        (vec!["token", "alice", "--ttl", "soon"], "soon"),
        (vec!["token", "alice", "--role", "king"], "king"),
        (vec!["token", "alice", "--token-public-key", "key.pem"], "your application"),
    ] {
        let (ok, _, error) = run(&[arguments, vec!["--data", data]].concat());
        assert!(!ok && error.contains(complaint), "{error}");
    }
    let (ok, token, _) = run(&["token", "alice", "--ttl", "90s", "--data", data]);
    assert!(ok && token.trim().split('.').count() == 3);
}

#[test]
fn the_schema_is_printed() {
    let (ok, schema, _) = run(&["schema"]);
    assert!(ok && schema == entrenous::graphql::sdl());
}

#[tokio::test]
async fn events_prints_the_log_and_follows_it_beside_the_service() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let id = alice.sent(&bob, "salut").await;
    let lines = server.event_lines();
    let message = &lines[2];
    assert_eq!(message["type"], "MessageSent");
    assert_eq!((&message["position"], &message["version"], &message["id"], &message["actor"]), (&json!(3), &json!(1), &json!(id), &json!("alice")));
    assert_eq!(message["data"]["shape"], 2);
    assert!(message["data"]["text"]["sealed"].as_str().is_some_and(|sealed| !sealed.is_empty()), "{message}");
    let (ok, out, error) = run(&["events", "--open", "--data", server.data().to_str().expect("UTF-8")]);
    let opened: Value = serde_json::from_str(out.lines().nth(2).expect("a line")).expect("JSON");
    assert!(ok, "{error}");
    assert_eq!(opened["data"], json!({ "sender": "alice", "recipient": "bob", "text": "salut", "number": 1, "senderNumber": 1 }));
    assert!(message["stream"].as_str().is_some_and(|stream| stream.starts_with("conversation-")));
    assert!(message["at"].as_str().is_some_and(|at| at.len() == 27 && at.ends_with('Z')), "microseconds, UTC");
    for name in ["correlationId", "causationId"] {
        assert!(message[name].as_str().is_some_and(|id| uuid::Uuid::try_parse(id).is_ok()), "{name}");
    }

    let mut follow =
        Command::new(BINARY).args(["events", "--follow", "--open", "--data"]).arg(server.data()).stdout(Stdio::piped()).spawn().expect("it follows");
    let mut out = BufReader::new(follow.stdout.take().expect("its output")).lines();
    for _ in 0..3 {
        out.next().expect("a line").expect("read");
    }
    for n in 0..5 {
        alice.sent(&bob, &n.to_string()).await;
        let line: Value = serde_json::from_str(&out.next().expect("a line").expect("read")).expect("JSON");
        assert_eq!(line["data"]["text"], n.to_string());
    }
    follow.kill().expect("ended");
    follow.wait().expect("ended");
}

/// Their key is made after the follower read all that there were.
#[tokio::test]
async fn who_registers_is_in_clear_to_whoever_follows_already() {
    let server = Server::start();
    server.people(["alice"]).await;
    let mut follow =
        Command::new(BINARY).args(["events", "--follow", "--open", "--data"]).arg(server.data()).stdout(Stdio::piped()).spawn().expect("it follows");
    let mut out = BufReader::new(follow.stdout.take().expect("its output")).lines();
    out.next().expect("a line").expect("read");
    server.people(["bob"]).await;
    let line: Value = serde_json::from_str(&out.next().expect("a line").expect("read")).expect("JSON");
    assert_eq!((&line["type"], &line["data"]["name"]), (&json!("UserRegistered"), &json!("bob")));
    follow.kill().expect("ended");
    follow.wait().expect("ended");
}

/// A mistyped folder is told once, and nothing is begun in it.
#[test]
fn commands_on_no_log_are_errors_and_make_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere");
    let data = nowhere.to_str().expect("UTF-8");
    let event = Uuid::nil().to_string();
    for command in [&["events"][..], &["verify"], &["checkpoint"], &["prove", "--event", &event], &["replay", "--user", "ann"], &["export-user", "ann"]] {
        let (ok, out, error) = run(&[command, &["--data", data][..]].concat());
        assert!(!ok && out.is_empty(), "{command:?}: {out}");
        assert_eq!(error, format!("error: {data}/events.db cannot be opened: there is no event log here yet\n"), "{command:?}");
    }
    let (ok, out, error) = run(&["checkpoint", "--verifier", "--data", data]);
    assert!(!ok && out.is_empty(), "{out}");
    assert_eq!(error, format!("error: {data}: there is no data folder here yet\n"));
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_data() {
    let server = Server::start();
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", server.data().to_str().expect("UTF-8")]);
    assert!(!ok && error.contains("in use by another process (process "), "{error}");
    server.people(["alice"]).await;
}

#[tokio::test]
async fn a_damaged_log_is_not_started_on() {
    let mut server = Server::start();
    server.people(["alice"]).await;
    server.signal("INT");
    assert!(server.wait().success(), "{}", server.log());
    std::fs::write(server.file("events.db"), vec![7; 20_000]).expect("written");
    let (ok, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data", server.data().to_str().expect("UTF-8")]);
    assert!(!ok && error.contains("damaged") && error.contains("backup"), "{error}");
    assert_eq!(std::fs::read(server.file("events.db")).expect("a file"), vec![7; 20_000]);
}

#[test]
fn a_mistyped_address_is_not_told_again() {
    for wrong in ["postgress://chat:S3cret@h/x", " postgres://chat:S3cret@h/x", "\"postgres://chat:S3cret@h/x\"", "POSTGRES://chat:S3cret@h/x"] {
        for arguments in [["serve", "--log"], ["serve", "--views"], ["events", "--keys"], ["copy", "--from"]] {
            let named = Command::new(BINARY).args(arguments).arg(wrong).output().expect("it runs");
            let by_variable = Command::new(BINARY).arg(arguments[0]).env("ENTRENOUS_LOG", wrong).env("ENTRENOUS_COPY_FROM", wrong).output().expect("it runs");
            for output in [named, by_variable] {
                let told = String::from_utf8_lossy(&output.stderr);
                assert!(!output.status.success() && !told.contains("S3cret"), "{arguments:?}: {told}");
            }
        }
    }
    let (_, _, error) = run(&["serve", "postgres://chat:S3cret@h/x"]);
    assert!(error.contains("unexpected argument") && !error.contains("S3cret"), "{error}");
    let (_, _, error) = run(&["serve", "--log", "postgress://chat:S3cret@h/x"]);
    assert!(error.contains("for '--log <URL>'") && error.contains("sqlite:FILE"), "it is told which, and what is right: {error}");
}

#[tokio::test]
async fn u3_an_image_is_where_clients_can_reach_the_service() {
    let server = Server::start();
    let avatar = async |server: &Server| server.person("alice").ask("{ me { avatarUrl } }").await["me"]["avatarUrl"].as_str().expect("an address").to_owned();
    let default = avatar(&server).await;
    assert_eq!(default, format!("{}/avatar.svg", server.url));
    assert_eq!(reqwest::get(&default).await.expect("an answer").status(), 200);
    let behind = Server::start_with(&["--public-url", "https://chat.example/base"]);
    assert_eq!(avatar(&behind).await, "https://chat.example/base/avatar.svg");
}

#[tokio::test]
async fn what_people_write_is_for_the_service_s_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "salut").await;
    let mut checked = 0;
    for entry in std::fs::read_dir(server.data()).expect("a folder") {
        let entry = entry.expect("a file");
        let (name, mode) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("there").permissions().mode());
        // A lock names a process and nothing else; `views.db` leads to a file.
        let kind = entry.file_type().expect("there");
        if kind.is_file() && entry.metadata().expect("there").len() > 0 && entry.path().extension().is_none_or(|kind| kind != "lock") {
            assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
            checked += 1;
        }
    }
    assert!(checked >= 4, "the log, its keys, the views and the key of tokens");
}

fn exit_code(arguments: &[&str]) -> Option<i32> {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("it runs").status.code()
}

#[tokio::test]
async fn a2_every_verdict_has_its_exit_code() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    let data = server.data().to_str().expect("UTF-8").to_owned();
    for (arguments, code) in [
        (["verify", "--data", &data].as_slice(), 0),
        (&["projections", "verify", "--data", &data], 0),
        (&["erase", "nobody", "--data", &data], 1),
        (&["events", "--stream", "nothing-like-it", "--data", &data], 2),
        (&["events", "--whatever"], 2),
    ] {
        assert_eq!(exit_code(arguments), Some(code), "{arguments:?}");
    }
    server.stop();
    let sql =
        |file: &str, statement: &str| rusqlite::Connection::open(server.file(file)).and_then(|connection| connection.execute_batch(statement)).expect("done");
    sql("views.db", "update conversations set read = 0, received = received + 1 where owner = 'alice'");
    assert_eq!(exit_code(&["projections", "verify", "--data", &data]), Some(1));
    sql("events.db", "update events set actor = 'mallory' where position = 4");
    assert_eq!(exit_code(&["verify", "--data", &data]), Some(1));
}

#[test]
fn every_option_has_its_variable() {
    let projections = ["status", "verify", "rebuild", "retry", "drop"].map(|command| vec!["projections", command]);
    let commands = ["serve", "token", "events", "import", "replay", "checkpoint", "prove", "verify", "copy", "erase", "export-user", "seed", "bench"]
        .map(|command| vec![command]);
    for command in projections.into_iter().chain(commands) {
        let (_, help, _) = run(&[command.as_slice(), &["--help"]].concat());
        let options = help.lines().filter(|line| line.trim_start().starts_with("--")).count();
        assert_eq!(options, help.matches("[env: ENTRENOUS_").count(), "{help}");
    }
}
