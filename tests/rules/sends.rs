//! Texts and sends (T, S).

use serde_json::{Value, json};

use crate::support::postgres::Database;
use crate::support::{Person, Server, code_of, nodes};

#[tokio::test]
async fn t1_to_t4_every_text_rule_has_its_code_and_appends_nothing() {
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
