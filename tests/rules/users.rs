//! Users and the directory (U), and what an administrator designs (C1 to C3).

use serde_json::{Value, json};

use super::walk;
use crate::support::{Server, code_of, nodes};

#[tokio::test]
async fn u2_the_first_request_registers_from_the_claims() {
    let server = Server::start();
    let alice = server.person_with("auth0|a", &json!({ "name": "  Alice\u{301} ", "picture": "https://exemple.fr/a.png" }));
    let me = alice.ask("{ me { id name avatarUrl contactable canMessage blocked conversation { id } } }").await["me"].clone();
    let expected = json!({ "id": "auth0|a", "name": "Alic\u{e9}", "avatarUrl": "https://exemple.fr/a.png", "contactable": true, "canMessage": false, "blocked": false, "conversation": null });
    assert_eq!(me, expected);
    alice.ask("{ me { id } }").await;
    let renamed = server.person_with("auth0|a", &json!({ "name": "Other" }));
    assert_eq!(renamed.ask("{ me { name } }").await["me"]["name"], "Alic\u{e9}", "claims register, they do not update");
    let lines = server.event_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["type"], &lines[0]["actor"]), (&json!("UserRegistered"), &json!("auth0|a")));
}

#[tokio::test]
async fn u2_an_administrator_registers_users_ahead() {
    let server = Server::start();
    let admin = server.admin();
    let users =
        json!([{ "id": "b", "name": "Bea" }, { "id": "c", "name": "Cy", "avatarUrl": "https://exemple.fr/c.png" }, { "id": "admin", "name": "Not this" }]);
    let payload = admin.mutate("registerUsers", json!({ "users": users }), "users { id name avatarUrl }").await;
    assert_eq!(payload["users"][1], json!({ "id": "c", "name": "Cy", "avatarUrl": "https://exemple.fr/c.png" }));
    assert_eq!(payload["users"][2]["name"], "admin", "who is registered stays as they are");
    assert_eq!(server.events(), 3);
    assert_eq!(admin.outcome("registerUsers", json!({ "users": users })).await, "");
    assert_eq!(server.events(), 3, "again appends nothing");
    assert_eq!(admin.outcome("registerUsers", json!({ "users": [{ "id": "d", "name": "D" }, { "id": "é", "name": "E" }] })).await, "INVALID_INPUT");
    assert_eq!(server.person("b").request("mutation { registerUsers(input: { users: [] }) { users { id } } }", json!({})).await.code(), "FORBIDDEN");
    assert_eq!(server.person("b").ask("{ me { name } }").await["me"]["name"], "Bea");
}

#[tokio::test]
async fn u3_without_a_picture_the_service_serves_the_default_image() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let url = alice.ask("{ me { avatarUrl } }").await["me"]["avatarUrl"].as_str().expect("never null").to_owned();
    let image = reqwest::get(&url).await.expect("an image");
    assert_eq!((image.status().as_u16(), &image.headers()["content-type"]), (200, &reqwest::header::HeaderValue::from_static("image/svg+xml")));
    let change = |input: Value| alice.mutate("updateProfile", input, "user { name avatarUrl }");
    assert_eq!(
        change(json!({ "name": "Alix", "avatarUrl": "https://exemple.fr/x.png" })).await["user"],
        json!({ "name": "Alix", "avatarUrl": "https://exemple.fr/x.png" })
    );
    assert_eq!(change(json!({ "name": "Alix" })).await["user"]["avatarUrl"], "https://exemple.fr/x.png");
    assert_eq!(change(json!({ "avatarUrl": null })).await["user"], json!({ "name": "Alix", "avatarUrl": url }));
    assert_eq!(code_of(&change(json!({ "name": "" })).await), "INVALID_INPUT");
    assert_eq!(code_of(&change(json!({ "avatarUrl": "javascript:alert(1)" })).await), "INVALID_INPUT");
    assert_eq!(server.events(), 3);
}

#[tokio::test]
async fn u4_the_directory_lists_everybody_else_by_name() {
    let server = Server::start();
    let admin = server.admin();
    let names = ["Zoé", "élan", "Eve", "adam", "Éric", "zoe", "Ångström", "100% sûr", "a_b", "Eve"];
    let users: Vec<_> = names.iter().enumerate().map(|(id, name)| json!({ "id": format!("u{id}"), "name": name })).collect();
    assert_eq!(admin.outcome("registerUsers", json!({ "users": users })).await, "");
    let ids = |data: &Value| nodes(&data["users"]).iter().map(|node| node["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>();
    let all = ids(&admin.ask("{ users { edges { node { id name } } } }").await);
    assert_eq!(all, ["u7", "u8", "u3", "u6", "u1", "u4", "u2", "u9", "u5", "u0"]);
    let endless = "e".repeat(200_000);
    for (search, found) in [
        (endless.as_str(), vec![]),
        ("\u{0}eve", vec![]),
        ("eve\u{0}", vec![]),
        ("EVE", vec!["u2", "u9"]),
        ("zoe", vec!["u5", "u0"]),
        ("ang", vec!["u6"]),
        ("%", vec!["u7"]),
        ("_", vec!["u8"]),
        ("nobody", vec![]),
    ] {
        let data = admin.ask_with("query($s: String) { users(search: $s) { edges { node { id } } } }", json!({ "s": search })).await;
        assert_eq!(ids(&data), found, "{search}");
    }
    assert_eq!(walk(&admin, "users", "", "first", "after", 3).await, all);
    let mut backwards = Vec::new();
    for page in walk(&admin, "users", "", "last", "before", 3).await.chunks(3) {
        backwards.splice(0..0, page.to_vec());
    }
    assert_eq!(backwards, all);
}

#[tokio::test]
async fn u5_the_plan_holds_however_many_register_at_once() {
    let server = Server::start_with(&["--user-limit", "5"]);
    let admin = server.admin();
    admin.ask("{ me { id } }").await;
    let newcomers: Vec<_> = (0..20).map(|n| server.person(&format!("n{n}"))).collect();
    let replies = futures_util::future::join_all(newcomers.iter().map(|person| person.request("{ me { id } }", json!({})))).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 403).collect();
    assert_eq!((replies.iter().filter(|reply| reply.status == 200).count(), refused.len()), (4, 16));
    assert_eq!(refused[0].code(), "USER_LIMIT_REACHED");
    assert!(refused[0].body["errors"][0]["message"].as_str().is_some_and(|message| message.contains("support")));
    assert_eq!(admin.outcome("registerUsers", json!({ "users": [{ "id": "x", "name": "X" }] })).await, "USER_LIMIT_REACHED");
    assert_eq!(server.events(), 5);
    for (person, reply) in newcomers.iter().zip(&replies) {
        assert_eq!(person.request("{ me { id } }", json!({})).await.status, reply.status, "those registered are never affected");
    }
}

#[tokio::test]
async fn u5_a_bulk_that_would_pass_the_limit_is_refused_whole() {
    let server = Server::start_with(&["--user-limit", "3"]);
    let admin = server.admin();
    let three = json!({ "users": [{ "id": "a", "name": "A" }, { "id": "b", "name": "B" }, { "id": "c", "name": "C" }] });
    assert_eq!(admin.outcome("registerUsers", three).await, "USER_LIMIT_REACHED");
    assert_eq!(server.events(), 1);
}

#[tokio::test]
async fn u6_the_switch_takes_the_button_and_gives_it_back() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    assert!(alice.can_message(&bob).await);
    bob.contactable(false).await;
    assert!(!alice.can_message(&bob).await);
    let events = server.events();
    bob.contactable(false).await;
    assert_eq!(server.events(), events);
    assert_eq!(alice.send_outcome(&bob, "salut").await, "NOT_CONTACTABLE");
    bob.contactable(true).await;
    assert!(alice.can_message(&bob).await);
}

#[tokio::test]
async fn u7_can_message_never_tells_of_the_other_s_block() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    bob.block(&alice).await;
    let seen = alice.user(&bob).await;
    assert_eq!((&seen["canMessage"], &seen["blocked"]), (&json!(true), &json!(false)));
    let own = bob.user(&alice).await;
    assert_eq!((&own["canMessage"], &own["blocked"]), (&json!(false), &json!(true)));
    alice.sent(&bob, "salut").await;
    bob.contactable(false).await;
    assert!(alice.can_message(&bob).await, "it stands in Alice's list");
}

#[tokio::test]
async fn c1_c2_c3_an_administrator_designs_the_section_and_everybody_reads_it() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let admin = server.admin();
    let section = "chatSection { title listTemplate { number showsAvatar showsUnreadBadge } detailTemplate { number photo bubble } }";
    let photos = ["SQUARE", "ROUND", "NONE"];
    for (list, detail) in (1..=3).flat_map(|list| (1..=3).map(move |detail| (list, detail))) {
        let input = json!({ "title": format!("Section {list}{detail}"), "listTemplate": list, "detailTemplate": detail });
        let payload = admin.mutate("configureChatSection", input, section).await;
        let expected = json!({
            "title": format!("Section {list}{detail}"),
            "listTemplate": { "number": list, "showsAvatar": list != 3, "showsUnreadBadge": list != 1 },
            "detailTemplate": { "number": detail, "photo": photos[detail - 1], "bubble": "SQUARE" },
        });
        assert_eq!(payload["chatSection"], expected);
        assert_eq!(alice.ask(&format!("{{ {section} }}")).await["chatSection"], expected);
    }
    let events = server.events();
    admin.templates(3, 3).await;
    assert_eq!(server.events(), events);
    let too_long = "x".repeat(61);
    for wrong in [json!({ "title": "" }), json!({ "title": too_long }), json!({ "listTemplate": 4 }), json!({ "detailTemplate": 0 })] {
        assert_eq!(admin.outcome("configureChatSection", wrong).await, "INVALID_INPUT");
    }
    let refused = alice.request("mutation { configureChatSection(input: { title: \"x\" }) { chatSection { title } } }", json!({})).await;
    assert_eq!((refused.code(), server.events()), ("FORBIDDEN", events));
}
