//! What somebody saw at a past moment, and the event behind each fact.

use std::fs;

use serde_json::{Value, json};

use super::export;
use crate::support::Server;
use crate::support::process::run;

#[tokio::test]
async fn a2_a_replay_names_the_event_behind_each_fact() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let seen = alice.sent(&bob, "un").await;
    bob.block(&alice).await;
    let withheld = alice.sent(&bob, "deux").await;
    bob.unblock(&alice).await;
    bob.read(&alice).await;
    bob.delete(&alice).await;
    let events = server.event_lines();
    let at = |kind: &str, n: usize| events.iter().filter(|event| event["type"] == kind).nth(n).expect("an event").clone();
    let replay = |more: &[&str]| {
        let (ok, out, error) = run(&[&["replay", "--data", server.data().to_str().expect("UTF-8"), "--user", "bob", "--why"], more].concat());
        assert!(ok, "{error}");
        serde_json::from_str::<Value>(&out).expect("JSON")
    };
    let before = |event: &Value| (event["position"].as_u64().expect("a position") - 1).to_string();

    let blocked = replay(&["--at", &before(&at("UserUnblocked", 0))]);
    let row = &blocked["conversations"][0];
    assert_eq!((&row["blocked"], &row["unreadCount"], &row["lastMessage"]["id"]), (&json!(true), &json!(1), &json!(seen)));
    let block = at("UserBlocked", 0);
    assert_eq!(
        (&row["why"]["blocked"]["id"], &row["why"]["blocked"]["actor"], &row["why"]["blocked"]["position"]),
        (&block["id"], &json!("bob"), &block["position"])
    );
    assert_eq!(row["why"]["name"]["id"], at("UserRegistered", 0)["id"]);
    assert_eq!(row["why"]["lastMessage"]["id"], json!(seen));

    let unblock = at("UserUnblocked", 0);
    let unblocked = replay(&["--at", unblock["at"].as_str().expect("an instant"), "--with", "alice"]);
    let messages = &unblocked["conversation"]["messages"];
    assert_eq!((&messages[0]["id"], &messages[0]["why"]["id"]), (&json!(seen), &json!(seen)));
    assert_eq!((&messages[1]["id"], &messages[1]["why"]["id"]), (&json!(withheld), &unblock["id"]), "it surfaced by the unblock");
    assert_eq!(unblocked["conversation"]["unreadCount"], 2);

    let now = replay(&[]);
    assert_eq!(now["conversations"], json!([]));
    let deleted = replay(&["--with", "alice"]);
    assert_eq!((&deleted["conversation"], &deleted["why"]["listed"]["id"]), (&Value::Null, &at("ConversationDeleted", 0)["id"]));
    assert_eq!(deleted["why"]["unreadCount"]["id"], at("MessagesRead", 0)["id"]);

    for (more, said) in [
        (&["--at", "1"][..], "bob was not registered then"),
        (&["--with", "carol"], "carol was not registered then"),
        (&["--at", "hier"], "neither a position nor an instant"),
    ] {
        let (ok, out, error) = run(&[&["replay", "--data", server.data().to_str().expect("UTF-8"), "--user", "bob"], more].concat());
        assert!(!ok && out.is_empty() && error.contains(said), "{error}");
    }
}

/// As in KurrentDB, where one node's clock is ahead of another's.
#[tokio::test]
async fn a2_a_replay_has_all_up_to_an_instant_where_times_go_back_between_streams() {
    let server = Server::start();
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await;
    alice.sent(&bob, "un").await;
    alice.sent(&cleo, "deux").await;
    let mut lines: Vec<String> = export(&format!("sqlite:{}", server.file("events.db").display()), &[]).lines().map(str::to_owned).collect();
    let at = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["at"].as_str().expect("an instant").to_owned();
    let (ahead, until) = (at(&lines[3]), at(&lines[4]));
    lines[3] = lines[3].replace(&ahead, "2999-01-01T00:00:00Z");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, log) = (folder.path().join("export.jsonl"), format!("sqlite:{}", folder.path().join("new.db").display()));
    fs::write(&file, lines.join("\n")).expect("written");
    let keys = format!("sqlite:{}", server.file("events.keys").display());
    let there = ["--log", &log, "--keys", &keys];
    let (ok, _, error) = run(&[&["import", file.to_str().expect("UTF-8")], &there[..]].concat());
    assert!(ok, "{error}");
    for (at, seen) in [(&*until, &["cleo"][..]), ("4", &["bob"]), ("2999-01-01T00:00:00Z", &["bob", "cleo"])] {
        let (ok, out, error) = run(&[&["replay", "--user", "alice", "--at", at], &there[..]].concat());
        assert!(ok, "{error}");
        let replayed: Value = serde_json::from_str(&out).expect("JSON");
        let mut contacts: Vec<_> = replayed["conversations"].as_array().expect("a list").iter().map(|row| row["contact"]["id"].as_str()).collect();
        contacts.sort_unstable();
        assert_eq!(contacts, seen.iter().copied().map(Some).collect::<Vec<_>>(), "{at}");
    }
}

#[tokio::test]
async fn a2_what_could_not_be_folded_is_said_after_what_could() {
    let mut server = Server::start();
    let [alice, bob, cleo] = server.people(["alice", "bob", "cleo"]).await;
    alice.sent(&bob, "un").await;
    alice.sent(&cleo, "deux").await;
    server.stop();
    let break_event = |position: u64| {
        let log = rusqlite::Connection::open(server.file("events.db")).expect("a log");
        assert_eq!(log.execute("update events set data = '[]' where position = ?1", [position]).expect("written"), 1);
    };
    let data = server.data().to_str().expect("UTF-8");
    break_event(4);
    for command in [&["replay", "--user", "alice"][..], &["export-user", "alice"]] {
        let (ok, out, error) = run(&[command, &["--data", data]].concat());
        let seen: Value = serde_json::from_str(&out).expect("JSON");
        let contacts: Vec<_> = seen["conversations"].as_array().expect("a list").iter().map(|row| &row["contact"]["id"]).collect();
        assert_eq!(contacts, ["cleo"], "{command:?}");
        assert!(!ok && error.contains("conversation-") && error.contains("position 4") && error.contains("MessageSent"), "{command:?}: {error}");
    }
    let (ok, out, error) = run(&["replay", "--user", "alice", "--at", "3", "--data", data]);
    assert!(ok && error.is_empty(), "it was broken later: {out}{error}");
    break_event(1);
    let (ok, out, error) = run(&["export-user", "alice", "--data", data]);
    assert!(!ok && out.is_empty() && error.contains("community/1"), "{error}");
}
