//! A small community with a past, for tests of what is made of it.

use serde_json::json;

use super::inside::Inside;

/// Five users, a conversation of each with each, blocks and readings between.
pub async fn community(inside: &Inside) {
    let users = ["ann", "bob", "cid", "dan", "eve"];
    let mut people = Vec::new();
    for user in users {
        people.push(inside.sign_in(user).await);
    }
    for round in 0..3 {
        for (n, from) in people.iter().enumerate() {
            for to in users.iter().skip(n + 1) {
                inside.mutate(from, "sendMessage", json!({ "to": to, "text": format!("{round} de {}", users[n]) }), "message { id }").await;
            }
            inside.mutate(from, "toggleContactable", json!({ "contactable": round % 2 == 1 }), "user { id }").await;
        }
        inside.mutate(&people[4], "markAsRead", json!({ "with": "ann" }), "conversation { id }").await;
        inside.mutate(&people[3], "blockUser", json!({ "userId": "ann" }), "user { id }").await;
    }
    inside.mutate(&people[0], "configureChatSection", json!({ "title": "Messages", "listTemplate": 2 }), "chatSection { title }").await;
    inside.app.views_reach_head().await.expect("caught up");
}
