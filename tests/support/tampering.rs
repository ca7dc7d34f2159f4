//! What somebody changes behind the service's back, who has its file or its database.

use entrenous::storage::StoreUrl;

use super::inside::Back;
use super::postgres;

/// Changes stored views.
pub async fn tamper_with_views(views: &StoreUrl, sql: &str) {
    tamper(views, "entrenous_views", sql).await;
}

/// Changes a stored log.
pub async fn tamper_with_log(log: &StoreUrl, sql: &str) {
    tamper(log, "entrenous_log", sql).await;
}

/// Takes the kept tree from a log.
pub fn no_tree(back: Back) -> &'static str {
    match back {
        Back::Sqlite => "update merkle set size = 0, frontier = x''",
        Back::Postgres => "update log set tree_size = 0, frontier = ''",
        Back::Kurrent => unreachable!("it keeps no tree"),
    }
}

async fn tamper(store: &StoreUrl, schema: &str, sql: &str) {
    match store {
        StoreUrl::Sqlite(path) => rusqlite::Connection::open(path).expect("a file").execute_batch(sql).expect(sql),
        StoreUrl::Postgres(url) => postgres::connect(url).await.batch_execute(&format!("set search_path = {schema}; {sql}")).await.expect(sql),
        StoreUrl::Kurrent(_) => unreachable!("it keeps no tables"),
    }
}
