//! The log over GraphQL: in pages, live, and for auditors alone.

use entrenous::domain::ids::UserId;
use entrenous::event_log::StoredEvent;
use entrenous::event_log::selection::Selection;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::all;
use crate::support::community::community;
use crate::support::inside::Inside;
use crate::support::socket::Socket;
use crate::support::{Server, nodes};

const EVENTS: &str = "query($filter: EventFilter, $first: Int, $after: String, $last: Int, $before: String) {
    events(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id position stream version type at actor correlationId causationId data stored cursor } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }";

#[tokio::test]
async fn a2_an_auditor_pages_through_the_log() {
    let inside = Inside::start().await;
    community(&inside).await;
    let auditor = inside.sign_in("eve").await;
    let known = all(inside.app.log()).await;
    let id = |event: &StoredEvent| event.id.to_string();
    for (filter, wanted) in [
        (json!({}), known.iter().map(id).collect::<Vec<_>>()),
        (json!({ "user": "eve", "types": ["MessageSent", "MessagesRead"] }), {
            let selection =
                Selection { user: UserId::parse("eve").ok(), types: vec!["MessageSent".to_owned(), "MessagesRead".to_owned()], ..Selection::default() };
            known.iter().filter(|event| selection.takes(event)).map(id).collect()
        }),
    ] {
        assert!(wanted.len() > 5);
        for (count, place, cursor, more) in [("first", "after", "endCursor", "hasNextPage"), ("last", "before", "startCursor", "hasPreviousPage")] {
            let (mut found, mut at) = (Vec::new(), Value::Null);
            loop {
                let page = inside.ask(&auditor, EVENTS, json!({ "filter": filter, count: 4, place: at })).await["events"].take();
                let ids: Vec<_> = nodes(&page).iter().map(|node| node["id"].as_str().expect("an id").to_owned()).collect();
                if count == "first" {
                    found.extend(ids);
                } else {
                    found.splice(0..0, ids).for_each(drop);
                }
                at = page["pageInfo"][cursor].clone();
                if page["pageInfo"][more] == false {
                    break;
                }
            }
            assert_eq!(found, wanted, "{count} of {filter}");
        }
    }
    let first = inside.ask(&auditor, EVENTS, json!({ "first": 1 })).await["events"]["edges"][0]["node"].take();
    let event = &known[0];
    assert_eq!((&first["position"], &first["version"], &first["type"]), (&json!("1"), &json!("1"), &json!(event.kind)));
    assert_eq!((&first["stored"], &first["at"], &first["actor"]), (&json!(event.data), &json!(event.at.to_string()), &json!(event.actor)));
    for wrong in [json!({ "stream": "rooms-1" }), json!({ "fromPosition": "one" }), json!({ "user": "no body" })] {
        let query = format!("{{ events(filter: {}) {{ edges {{ cursor }} }} }}", wrong.to_string().replace("{\"", "{").replace("\":", ":"));
        let refused = inside.respond(&auditor, &query).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn a2_an_auditor_follows_the_log() {
    let inside = Inside::start().await;
    let [ann, bob] = [inside.sign_in("ann").await, inside.sign_in("bob").await];
    inside.mutate(&ann, "sendMessage", json!({ "to": "bob", "text": "avant" }), "message { id }").await;
    let first = inside.ask(&ann, EVENTS, json!({ "first": 1 })).await["events"]["edges"][0]["cursor"].take();
    let follow = "subscription($after: String) { eventLog(after: $after, filter: { types: [\"MessageSent\"] }) { type data cursor } }";
    let mut since = Box::pin(inside.follow(&ann, follow, json!({ "after": first })));
    let mut live = Box::pin(inside.follow(&ann, follow, json!({})));
    assert!(since.next().await.expect("told")["eventLog"]["data"].as_str().is_some_and(|data| data.contains("avant")));
    assert!(futures_util::poll!(live.next()).is_pending(), "it begins now");
    inside.mutate(&bob, "markAsRead", json!({ "with": "ann" }), "conversation { id }").await;
    inside.mutate(&bob, "sendMessage", json!({ "to": "ann", "text": "apres" }), "message { id }").await;
    for events in [&mut since, &mut live] {
        assert!(events.next().await.expect("told")["eventLog"]["data"].as_str().is_some_and(|data| data.contains("apres")));
    }
}

#[tokio::test]
async fn b6_only_an_auditor_sees_the_log() {
    let server = Server::start();
    let [alice] = server.people(["alice"]).await;
    for query in ["{ events { edges { cursor } } }", "{ events(first: 1, filter: { user: \"alice\" }) { edges { cursor } } }"] {
        let answer = alice.request(query, json!({})).await.body;
        assert_eq!((&answer["errors"][0]["extensions"]["code"], &answer["data"]), (&json!("FORBIDDEN"), &Value::Null), "{answer}");
    }
    let admin = server.admin();
    assert_eq!(admin.request("{ events { edges { cursor } } }", json!({})).await.code(), "FORBIDDEN", "another role");
    for person in [&alice, &admin] {
        let mut socket = Socket::signed_in(&server, person).await;
        socket.subscribe("log", "subscription { eventLog { data } }", json!({})).await;
        let refused = socket.hear().await.expect("an answer");
        assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("FORBIDDEN")), "{refused}");
    }
}
