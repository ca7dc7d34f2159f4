//! The rules of the product as its users meet them: over HTTP, each named.

use serde_json::{Value, json};

use crate::support::postgres::Database;
use crate::support::{Person, Server, code_of, nodes};

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

/// Pages through a connection; the nodes' ids in the order they came.
async fn walk(person: &Person, field: &str, more: &str, count: &str, bound: &str, rows: usize) -> Vec<String> {
    let (mut cursor, mut ids) = (Value::Null, Vec::new());
    loop {
        let query = format!(
            "query($c: String) {{ {field}({more} {count}: {rows}, {bound}: $c) {{ edges {{ node {{ id }} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
        );
        let page = person.ask_with(&query, json!({ "c": cursor })).await[field].take();
        ids.extend(nodes(&page).iter().map(|node| node["id"].as_str().expect("an id").to_owned()));
        let (more, next) = if bound == "after" { ("hasNextPage", "endCursor") } else { ("hasPreviousPage", "startCursor") };
        if page["pageInfo"][more] == false {
            return ids;
        }
        cursor = page["pageInfo"][next].clone();
    }
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
async fn t_every_text_rule_has_its_code_and_appends_nothing() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let too_long = "x".repeat(2_001);
    let refusals = [
        ("", "TEXT_EMPTY"),
        (" \n\t ", "TEXT_EMPTY"),
        (too_long.as_str(), "TEXT_TOO_LONG"),
        ("bien 👍", "TEXT_HAS_EMOJI"),
        ("1️⃣", "TEXT_HAS_EMOJI"),
        ("va sur exemple.fr", "TEXT_HAS_URL"),
        ("https://x", "TEXT_HAS_URL"),
        ("a\u{0}b", "TEXT_HAS_CONTROL_CHARACTER"),
        ("www.x 😀 \u{7}", "TEXT_HAS_CONTROL_CHARACTER"),
        ("www.x 😀", "TEXT_HAS_URL"),
    ];
    for (text, code) in refusals {
        let payload = alice.send(&bob, text).await;
        assert_eq!((code_of(&payload), &payload["message"]), (code.to_owned(), &Value::Null), "{text:?}");
        assert_eq!(payload["userErrors"][0]["field"], json!(["input", "text"]));
    }
    assert_eq!(server.events(), events);
    let longest = "é".repeat(2_000);
    for text in ["fini.Merci :-)", "jean@exemple.fr", "© 2026 ™ #1", "مرحبا", longest.as_str(), "une\nligne\tet", &format!("z{}", "\u{335}".repeat(200))]
    {
        assert_eq!(alice.send(&bob, text).await["message"]["text"], *text);
    }
}

#[tokio::test]
async fn s1_to_one_other_registered_user() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let nobody = server.person("nobody");
    assert_eq!(alice.send_outcome(&alice, "moi").await, "SELF");
    assert_eq!(alice.send_outcome(&nobody, "toi").await, "USER_NOT_FOUND");
    assert_eq!(alice.outcome("sendMessage", json!({ "to": "no such id!", "text": "x" })).await, "USER_NOT_FOUND");
    for mutation in ["blockUser", "unblockUser"] {
        assert_eq!(alice.outcome(mutation, json!({ "userId": "nobody" })).await, "USER_NOT_FOUND");
        assert_eq!(alice.outcome(mutation, json!({ "userId": "alice" })).await, "SELF");
    }
    for mutation in ["openConversation", "markAsRead", "deleteConversation"] {
        assert_eq!(alice.outcome(mutation, json!({ "with": "nobody" })).await, "USER_NOT_FOUND", "{mutation}");
        assert_eq!(alice.outcome(mutation, json!({ "with": "alice" })).await, "SELF", "{mutation}");
    }
    assert_eq!(server.events(), 1);
}

#[tokio::test]
async fn s2_it_goes_on_once_the_conversation_stands() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    bob.contactable(false).await;
    alice.sent(&bob, "deux").await;
    alice.delete(&bob).await;
    assert_eq!(alice.send_outcome(&bob, "trois").await, "NOT_CONTACTABLE");
    bob.sent(&alice, "quatre").await;
    alice.sent(&bob, "cinq").await;
    assert_eq!(alice.history(&bob).await, Some(["un", "deux", "quatre", "cinq"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn s5_a_retry_is_answered_with_the_first_result() {
    let server = Server::start();
    let [alice, bob, carol] = server.people(["alice", "bob", "carol"]).await;
    let id = "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
    let send = async |person: &Person, to: &Person, text: &str, id: &str| {
        person.mutate("sendMessage", json!({ "to": to.id, "text": text, "messageId": id }), "message { id text sentAt }").await
    };
    let first = send(&alice, &bob, "une fois", id).await;
    assert_eq!(first["message"]["id"], id);
    let events = server.events();
    assert_eq!(send(&alice, &bob, "  une fois ", &id.to_uppercase()).await, first);
    alice.block(&bob).await;
    assert_eq!(send(&alice, &bob, "une fois", id).await, first, "whatever has changed since");
    alice.unblock(&bob).await;
    alice.delete(&bob).await;
    bob.contactable(false).await;
    assert_eq!(send(&alice, &bob, "une fois", id).await, first);
    assert_eq!(server.events(), events + 4);
    for (from, to, text) in [(&alice, &bob, "autre"), (&alice, &carol, "une fois"), (&carol, &alice, "une fois"), (&bob, &alice, "une fois")] {
        let payload = send(from, to, text, id).await;
        assert_eq!((code_of(&payload).as_str(), &payload["message"]), ("MESSAGE_ID_REUSED", &Value::Null));
    }
    assert_eq!(code_of(&send(&alice, &bob, "x", "42").await), "INVALID_INPUT");
    let made = alice.sent(&carol, "sans id").await;
    assert_eq!(uuid::Uuid::parse_str(&made).expect("a UUID").get_version_num(), 7);
}

#[tokio::test]
async fn s5_many_retries_at_once_append_one_message() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let input = json!({ "to": "bob", "text": "une fois", "messageId": "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f" });
    let payloads = futures_util::future::join_all((0..32).map(|_| alice.mutate("sendMessage", input.clone(), "message { id sentAt }"))).await;
    assert!(payloads.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(server.events(), events + 1);
    let others =
        (0..16).map(|n| alice.outcome("sendMessage", json!({ "to": "bob", "text": format!("{n}"), "messageId": "0192f0c1-5e2f-7cc3-98c4-dc0c0c073990" })));
    let outcomes = futures_util::future::join_all(others).await;
    assert_eq!(outcomes.iter().filter(|code| code.is_empty()).count(), 1);
    assert_eq!(outcomes.iter().filter(|code| *code == "MESSAGE_ID_REUSED").count(), 15);
    assert_eq!(bob.history(&alice).await.map(|history| history.len()), Some(2));
}

#[tokio::test]
async fn s5_a_message_cannot_take_the_id_of_a_user() {
    let server = Server::start();
    let somebody = "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
    let [alice, _bob] = server.people(["alice", "bob"]).await;
    let outcome = async |to: &str, id: &str| alice.outcome("sendMessage", json!({ "to": to, "text": "x", "messageId": id })).await;
    let before = "0192f0c1-5e2f-7cc3-98c4-dc0c0c073990";
    assert_eq!(outcome("bob", before).await, "");
    let [_, _] = server.people([somebody, before]).await;
    assert_eq!(outcome("bob", somebody).await, "MESSAGE_ID_REUSED");
    assert_eq!(outcome("nobody", somebody).await, "USER_NOT_FOUND", "S8");
    assert_eq!(outcome("bob", before).await, "", "S5: a retry, whatever has changed since");
    // Users who were there before are known to a service that starts, whether it reads them in the views or folds the log.
    let server = server.again();
    let alice = server.person("alice");
    let outcome = async |id: &str| alice.outcome("sendMessage", json!({ "to": "bob", "text": "x", "messageId": id })).await;
    assert_eq!((outcome(somebody).await.as_str(), outcome(before).await.as_str()), ("MESSAGE_ID_REUSED", ""));
    std::fs::remove_file(server.file("views.db")).expect("removed");
    let server = server.again();
    let reply = server.person("alice").outcome("sendMessage", json!({ "to": "bob", "text": "x", "messageId": somebody })).await;
    assert_eq!(reply, "MESSAGE_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_a_user_who_came_to_another_node_keeps_their_id_from_messages() {
    let database = Database::create().await;
    let url = database.url();
    let nodes = [Server::start_node(&url, Some(&url)), Server::start_node(&url, Some(&url))];
    let [alice, _bob] = nodes[0].people(["alice", "bob"]).await;
    let somebody = "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
    for (here, there) in [(0, 1), (1, 0)] {
        let id = somebody.replace('f', if here == 0 { "f" } else { "e" });
        nodes[there].people([id.as_str()]).await;
        let reply = nodes[here].person(&alice.id).outcome("sendMessage", json!({ "to": "bob", "text": "x", "messageId": id })).await;
        assert_eq!(reply, "MESSAGE_ID_REUSED");
    }
}

#[tokio::test]
async fn s6_both_see_one_order_whoever_wrote_at_the_same_instant() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let sends = texts.iter().enumerate().map(|(n, text)| if n % 2 == 0 { alice.sent(&bob, text) } else { bob.sent(&alice, text) });
    futures_util::future::join_all(sends).await;
    let query = "query($with: ID!) { conversation(with: $with) { messages(first: 100) { edges { node { id sentAt text } } } } }";
    let hers = alice.ask_with(query, json!({ "with": "bob" })).await;
    let his = bob.ask_with(query, json!({ "with": "alice" })).await;
    assert_eq!(hers, his);
    let times: Vec<String> = nodes(&hers["conversation"]["messages"]).iter().map(|node| node["sentAt"].to_string()).collect();
    assert_eq!(times.len(), 40);
    assert!(times.is_sorted());
}

#[tokio::test]
async fn s8_the_first_refusal_is_given() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let id = alice.sent(&bob, "un").await;
    alice.delete(&bob).await;
    alice.block(&bob).await;
    bob.contactable(false).await;
    let outcome = async |to: &str, text: &str, id: &str| alice.outcome("sendMessage", json!({ "to": to, "text": text, "messageId": id })).await;
    let fresh = "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f";
    assert_eq!(outcome("alice", "😀", &id).await, "TEXT_HAS_EMOJI");
    assert_eq!(outcome("alice", "deux", &id).await, "SELF");
    assert_eq!(outcome("nobody", "deux", &id).await, "USER_NOT_FOUND");
    assert_eq!(outcome("bob", "deux", &id).await, "MESSAGE_ID_REUSED");
    assert_eq!(outcome("bob", "deux", fresh).await, "CONTACT_BLOCKED");
    alice.unblock(&bob).await;
    assert_eq!(outcome("bob", "deux", fresh).await, "NOT_CONTACTABLE");
}

#[tokio::test]
async fn l1_a_row_shows_contact_date_text_badge_and_block() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    let payload = alice.send(&bob, "deux").await;
    let row = bob.row(&alice).await.expect("a row");
    assert_eq!(row["contact"], json!({ "id": "alice", "name": "alice" }));
    assert_eq!((&row["lastMessage"]["text"], &row["unreadCount"], &row["blocked"]), (&json!("deux"), &json!(2), &json!(false)));
    assert_eq!(row["lastMessageAt"], payload["message"]["sentAt"]);
    assert_eq!(row["id"], payload["conversation"]["id"]);
}

#[tokio::test]
async fn l2_the_oldest_first_the_blocked_last_in_both_orders() {
    let server = Server::start();
    let [me, a, b, c, d, last] = server.people(["me", "a", "b", "c", "d", "e"]).await;
    for contact in [&a, &b, &c, &d, &last] {
        contact.sent(&me, "salut").await;
    }
    a.sent(&me, "encore").await;
    me.block(&b).await;
    me.block(&d).await;
    assert_eq!(me.contacts().await, ["c", "e", "a", "b", "d"]);
    let newest = me.ask("{ conversations(order: NEWEST_FIRST) { edges { node { contact { id } } } totalCount unreadCount } }").await["conversations"].clone();
    let order: Vec<_> = nodes(&newest).iter().map(|node| node["contact"]["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(order, ["a", "e", "c", "d", "b"]);
    assert_eq!((&newest["totalCount"], &newest["unreadCount"]), (&json!(5), &json!(6)));
    for order in ["OLDEST_FIRST", "NEWEST_FIRST"] {
        let more = format!("order: {order},");
        let all = walk(&me, "conversations", &more, "first", "after", 50).await;
        for rows in 1..=4 {
            assert_eq!(walk(&me, "conversations", &more, "first", "after", rows).await, all, "{order} by {rows}");
            let mut pages = Vec::new();
            for page in walk(&me, "conversations", &more, "last", "before", rows).await.chunks(rows) {
                pages.splice(0..0, page.to_vec());
            }
            assert_eq!(pages, all, "{order} backwards by {rows}");
        }
    }
}

#[tokio::test]
async fn l3_the_badge_clears_up_to_a_message_and_tells_nobody() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    let second = alice.sent(&bob, "deux").await;
    bob.sent(&alice, "réponse").await;
    let third = alice.sent(&bob, "trois").await;
    assert_eq!(bob.badge(&alice).await, 3, "sending does not mark as read");
    let before = alice.list().await;
    let read = |id: &str| bob.mutate("markAsRead", json!({ "with": "alice", "upTo": id }), "conversation { unreadCount }");
    assert_eq!(read(&second).await["conversation"]["unreadCount"], 1);
    assert_eq!(read(&third).await["conversation"]["unreadCount"], 0);
    let events = server.events();
    assert_eq!(read(&second).await["conversation"]["unreadCount"], 0);
    bob.read(&alice).await;
    assert_eq!(server.events(), events);
    assert_eq!(alice.list().await, before, "reading is private");
    assert_eq!(code_of(&read("0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f").await), "MESSAGE_NOT_FOUND");
    assert_eq!(code_of(&read("what?").await), "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn l4_a_row_says_what_can_be_done() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let admin = server.admin();
    alice.sent(&bob, "salut").await;
    let actions = async || bob.row(&alice).await.expect("a row")["actions"].clone();
    assert_eq!(actions().await, json!(["BLOCK", "DELETE"]), "list 1 has no badge");
    for list in [2, 3] {
        admin.templates(list, 1).await;
        assert_eq!(actions().await, json!(["BLOCK", "MARK_AS_READ", "DELETE"]));
    }
    bob.block(&alice).await;
    assert_eq!(actions().await, json!(["UNBLOCK", "MARK_AS_READ", "DELETE"]));
    bob.read(&alice).await;
    assert_eq!(actions().await, json!(["UNBLOCK", "DELETE"]));
}

#[tokio::test]
async fn b_a_block_withholds_and_an_unblock_reveals() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "avant").await;
    let before = bob.row(&alice).await.expect("a row");
    bob.block(&alice).await;
    alice.sent(&bob, "pendant 1").await;
    let withheld = alice.sent(&bob, "pendant 2").await;
    let during = bob.row(&alice).await.expect("B2: the greyed row");
    assert_eq!((&during["blocked"], &during["lastMessageAt"], &during["lastMessage"]), (&json!(true), &before["lastMessageAt"], &before["lastMessage"]));
    assert_eq!(bob.history(&alice).await, Some(vec!["avant".to_owned()]));
    assert_eq!(alice.history(&bob).await.map(|history| history.len()), Some(3));
    assert_eq!(bob.send_outcome(&alice, "non").await, "CONTACT_BLOCKED", "S3");
    assert_eq!(bob.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": withheld })).await["node"], Value::Null);
    assert_eq!(bob.outcome("markAsRead", json!({ "with": "alice", "upTo": withheld })).await, "MESSAGE_NOT_FOUND");
    let payload = bob.unblock(&alice).await;
    assert_eq!(payload["revealedCount"], 2, "B3");
    assert_eq!((&payload["conversation"]["unreadCount"], &payload["conversation"]["lastMessage"]["text"]), (&json!(3), &json!("pendant 2")));
    assert_eq!(payload["user"], json!({ "blocked": false, "canMessage": true }));
    assert_eq!(bob.history(&alice).await, alice.history(&bob).await);
    bob.block(&alice).await;
    alice.sent(&bob, "après").await;
    assert_eq!(bob.history(&alice).await.map(|history| history.len()), Some(3), "B4");
    let events = server.events();
    bob.block(&alice).await;
    assert_eq!(server.events(), events, "B5");
    bob.unblock(&alice).await;
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 0, "B5");
}

#[tokio::test]
async fn b1_blocking_without_a_row_adds_none_until_something_surfaces() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    bob.block(&alice).await;
    assert!(bob.list().await.is_empty());
    let payload = alice.send(&bob, "allo").await;
    assert_eq!(code_of(&payload), "");
    assert_eq!((alice.contacts().await, bob.contacts().await), (vec!["bob".to_owned()], vec![]));
    assert_eq!(bob.history(&alice).await, None);
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 1);
    assert_eq!((bob.contacts().await, bob.badge(&alice).await), (vec!["alice".to_owned()], 1));
}

#[tokio::test]
async fn d_a_deleted_conversation_comes_back_whole() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let first = alice.sent(&bob, "un").await;
    bob.sent(&alice, "deux").await;
    let row = bob.row(&alice).await.expect("a row");
    let payload = bob.delete(&alice).await;
    assert_eq!((&payload["deletedConversationId"], &payload["warning"]), (&row["id"], &Value::Null));
    assert_eq!((bob.contacts().await, bob.history(&alice).await), (vec![], None));
    assert_eq!(bob.user(&alice).await["conversation"], Value::Null);
    for id in [first.as_str(), row["id"].as_str().expect("an id")] {
        assert_eq!(bob.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await["node"], Value::Null);
        assert_eq!(alice.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await["node"]["id"], id);
    }
    assert_eq!(code_of(&bob.delete(&alice).await), "CONVERSATION_NOT_FOUND", "D5");
    assert_eq!(alice.history(&bob).await.map(|history| history.len()), Some(2), "untouched for the contact");
    let opened = bob.open(&alice).await["conversation"].clone();
    assert_eq!((&opened["unreadCount"], nodes(&opened["messages"]).len()), (&json!(0), 2), "D2");
    bob.delete(&alice).await;
    alice.sent(&bob, "trois").await;
    assert_eq!((bob.badge(&alice).await, bob.history(&alice).await.map(|history| history.len())), (1, Some(3)), "D3");
}

#[tokio::test]
async fn d2_opening_without_history_gives_an_empty_conversation() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let events = server.events();
    let conversation = alice.open(&bob).await["conversation"].clone();
    assert_eq!((&conversation["lastMessage"], &conversation["lastMessageAt"], &conversation["actions"]), (&Value::Null, &Value::Null, &json!(["BLOCK"])));
    assert_eq!(conversation["messages"]["edges"], json!([]));
    assert_eq!((server.events(), alice.list().await.len()), (events, 0));
    assert_eq!(alice.send(&bob, "salut").await["conversation"]["id"], conversation["id"]);
    bob.contactable(false).await;
    let [carol] = server.people(["carol"]).await;
    assert_eq!(code_of(&carol.open(&bob).await), "NOT_CONTACTABLE");
    assert_eq!(code_of(&alice.open(&bob).await), "", "a row that stands");
}

#[tokio::test]
async fn d4_deleted_while_blocked_must_be_reopened_to_unblock() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    bob.block(&alice).await;
    assert_eq!(bob.delete(&alice).await["warning"], "CANNOT_UNBLOCK_WHILE_DELETED");
    alice.sent(&bob, "deux").await;
    assert!(bob.list().await.is_empty());
    assert_eq!(code_of(&bob.unblock(&alice).await), "CONVERSATION_DELETED");
    let reopened = bob.open(&alice).await["conversation"].clone();
    assert_eq!((&reopened["blocked"], &reopened["unreadCount"], nodes(&reopened["messages"]).len()), (&json!(true), &json!(0), 1));
    assert_eq!(bob.unblock(&alice).await["revealedCount"], 1);
    assert_eq!(bob.badge(&alice).await, 1);
}

#[tokio::test]
async fn c1_an_administrator_designs_the_section_and_everybody_reads_it() {
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

#[tokio::test]
async fn nodes_are_found_by_their_ids() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let message = alice.sent(&bob, "salut").await;
    let conversation = bob.row(&alice).await.expect("a row")["id"].as_str().expect("an id").to_owned();
    let node = async |id: &str| bob.ask_with("query($id: ID!) { node(id: $id) { __typename id } }", json!({ "id": id })).await["node"].clone();
    assert_eq!(node(&message).await, json!({ "__typename": "Message", "id": message }));
    assert_eq!(node(&conversation).await, json!({ "__typename": "Conversation", "id": conversation }));
    assert_eq!(node("alice").await, json!({ "__typename": "User", "id": "alice" }));
    for nothing in ["", "nobody", "conversation/", "conversation/x", "0192f0c1-5e2f-7cc3-98c4-dc0c0c07398f", "é"] {
        assert_eq!(node(nothing).await, Value::Null, "{nothing:?}");
    }
    let [carol] = server.people(["carol"]).await;
    for private in [message, conversation] {
        assert_eq!(carol.ask_with("query($id: ID!) { node(id: $id) { id } }", json!({ "id": private })).await["node"], Value::Null);
    }
}

#[tokio::test]
async fn one_user_sends_no_faster_than_allowed() {
    let server = Server::start_with(&["--send-rate", "1"]);
    let [alice, bob] = server.people(["alice", "bob"]).await;
    for n in 0..5 {
        alice.sent(&bob, &n.to_string()).await;
    }
    let refused = alice.request("mutation { sendMessage(input: { to: \"bob\", text: \"trop\" }) { message { id } } }", json!({})).await;
    assert_eq!((refused.code(), &refused.body["errors"][0]["extensions"]["retryAfter"]), ("RATE_LIMITED", &json!(1)));
    bob.sent(&alice, "à chacun son débit").await;
}

#[tokio::test]
async fn t4_a_text_is_checked_before_it_is_sent_and_nothing_is_appended() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    let events = server.events();
    for (text, code) in [
        ("bonjour", None),
        (" ", Some("TEXT_EMPTY")),
        ("voir exemple.fr/page", Some("TEXT_HAS_URL")),
        ("\u{1F600}", Some("TEXT_HAS_EMOJI")),
        ("a\u{1}", Some("TEXT_HAS_CONTROL_CHARACTER")),
        (&"x".repeat(2_001), Some("TEXT_TOO_LONG")),
    ] {
        let found = alice.ask_with("query ($text: String!) { checkText(text: $text) { code field message } }", json!({ "text": text })).await;
        assert_eq!(found["checkText"][0]["code"].as_str(), code, "{found}");
        assert_eq!(found["checkText"].as_array().map(Vec::len), Some(usize::from(code.is_some())));
    }
    assert_eq!(alice.ask("{ roles }").await["roles"], json!([]));
    assert_eq!(server.person_with("root", &json!({ "roles": ["admin", "auditor"] })).ask("{ roles }").await["roles"], json!(["ADMIN", "AUDITOR"]));
    assert_eq!(server.events(), events + 1, "but for the sign-in");
}

/// What rows say at once, and what their resolvers say when something beside has to be waited for.
#[tokio::test]
async fn every_field_of_a_row_is_the_same_whether_it_is_waited_for_or_not() {
    const USER: &str = "__typename id name avatarUrl contactable erased canMessage blocked";
    let message = |in_sender: &str| format!("__typename id text sentAt mine sender {{ id name conversation {{ id {in_sender} }} }}");
    let server = Server::start();
    let [alice, bob, carol, dave] = server.people(["alice", "bob", "carol", "dave"]).await;
    for contact in [&bob, &carol, &dave] {
        contact.sent(&alice, "salut").await;
        alice.sent(contact, "bonjour").await;
        contact.sent(&alice, "ça va ?").await;
    }
    alice.sent(&dave, "et toi ?").await;
    alice.block(&carol).await;
    alice.read(&dave).await;
    bob.contactable(false).await;
    let row = |more: &str| {
        let message = message("");
        format!(
            "__typename id blocked unreadCount lastMessageAt actions contact {{ {USER} conversation {{ id unreadCount }} }}
             lastMessage {{ {message} }} {more}"
        )
    };
    let everything = |more: &str, in_user: &str| {
        format!(
            "{{ conversations(first: 9) {{ edges {{ __typename cursor node {{ {} }} }} }}
                users(first: 9) {{ edges {{ cursor node {{ {USER} conversation {{ id blocked {in_user} }} }} }} }}
                conversation(with: \"bob\") {{ messages(last: 9) {{ edges {{ cursor node {{ {} }} }} }} }} }}",
            row(more),
            message(in_user)
        )
    };
    let page = "messages(first: 1) { edges { node { sender { id } } } }";
    let at_once = alice.ask(&everything("", "")).await;
    let mut waited_for = alice.ask(&everything(page, page)).await;
    assert_eq!(at_once["conversations"]["edges"].as_array().map(Vec::len), Some(3));
    assert_eq!(at_once["users"]["edges"].as_array().map(Vec::len), Some(3));
    for edge in waited_for["conversations"]["edges"].as_array_mut().expect("edges") {
        assert!(edge["node"].as_object_mut().expect("a row").remove("messages").is_some());
    }
    for edge in waited_for["users"]["edges"].as_array_mut().expect("edges") {
        assert!(edge["node"]["conversation"].as_object_mut().expect("a row").remove("messages").is_some());
    }
    for edge in waited_for["conversation"]["messages"]["edges"].as_array_mut().expect("edges") {
        if let Some(conversation) = edge["node"]["sender"]["conversation"].as_object_mut() {
            assert!(conversation.remove("messages").is_some());
        }
    }
    assert_eq!(at_once, waited_for);
}
