//! The rules of the product as its users meet them: over HTTP, each named.

mod blocks;
mod lists;
mod sends;
mod users;

use serde_json::{Value, json};

use crate::support::{Person, nodes};

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
