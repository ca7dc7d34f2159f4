//! The tables: made where there are none, and anew where they are of other projections. Never touches their rows.

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{HAS_TABLES, IS_LED, LOCK_TABLES, MAKE_CURRENT, MAKE_OLD, NEXT, SCHEMA};
use crate::postgres::Server;
use crate::projections::{self, Shape};
use crate::read_store::reader::Unreadable;
use crate::read_store::{OpenError, StoredCheckpoint, are_of_these_shapes, queries};

/// Whether what was built beside is finished.
const IS_PREPARED: &str = "select obj_description(to_regnamespace('entrenous_views_next'), 'pg_namespace') is not distinct from 'prepared'";
const EPOCH: &str = "select coalesce(max(epoch), 0) from projector";
/// Whoever led in the tables before, and slept meanwhile, leads no more.
const FENCE: &str = "update projector set node = null, epoch = greatest(epoch, $1) + 1";
/// What there is beside the projections' own tables.
const PROJECTOR: &str = "
    create table projector (
        only_one bigint      not null primary key check (only_one = 1),
        epoch    bigint      not null,       -- grows with every holder of the lease
        node     uuid,                       -- the holder; null: nobody
        seen     timestamptz not null        -- when the holder last wrote or said that it is there
    );
    insert into projector (only_one, epoch, seen) values (1, 0, clock_timestamp());
    create function fence(mine bigint) returns void language plpgsql as $$
    begin
        update projector set seen = clock_timestamp() where epoch = mine;
        if not found then
            raise exception 'another node leads' using errcode = 'EN001';
        end if;
    end $$";

pub(super) fn views_of(url: &str, schema: &str, statement_timeout: &str) -> Result<Server, OpenError> {
    let settings = [format!("search_path={schema}"), format!("statement_timeout={statement_timeout}")];
    Ok(Server::new(url)?.with_settings("entrenous views", &settings.each_ref().map(String::as_str)))
}

/// Makes the tables where there are none, and anew where they are of other projections and nobody folds them.
pub(super) async fn prepare_tables(server: &Server, log: Uuid) -> Result<(), OpenError> {
    let place = || format!("the schema {SCHEMA} of {}", server.place);
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = server.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
    if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) {
        match are_usable(&transaction, server, &place(), log).await? {
            Usable::Yes => {
                transaction.batch_execute(&adapted(queries::PARKED_TABLE)).await.map_err(unreachable)?;
                return transaction.commit().await.map_err(unreachable);
            }
            Usable::OfAnotherLog => return Err(OpenError::Diverged { place: place() }),
            Usable::OfOtherProjections => {}
        }
        if transaction.query_one(IS_LED, &[]).await.map_err(unreachable)?.get(0) {
            return Err(OpenError::InUse { place: place(), holder: "a node of another version, whose projections differ".to_owned() });
        }
        let epoch: i64 = transaction.query_one(EPOCH, &[]).await.map_err(unreachable)?.get(0);
        transaction.batch_execute(MAKE_OLD).await.map_err(unreachable)?;
        if is_prepared(server, log).await? {
            transaction.batch_execute(MAKE_CURRENT).await.map_err(unreachable)?;
        } else {
            tracing::info!(place = %place(), "the views are made anew from the log: the projections have changed");
            create_tables(&transaction, SCHEMA, log, |shape| shape.sql.to_owned()).await.map_err(unreachable)?;
        }
        transaction.execute(FENCE, &[&epoch]).await.map_err(unreachable)?;
    } else {
        create_tables(&transaction, SCHEMA, log, |shape| shape.sql.to_owned()).await.map_err(unreachable)?;
    }
    transaction.commit().await.map_err(unreachable)
}

/// Makes the tables to build in, unless there are some to go on with.
pub(super) async fn prepare_next(server: &Server, log: Uuid) -> Result<(), OpenError> {
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = server.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    transaction.execute(LOCK_TABLES, &[]).await.map_err(unreachable)?;
    if transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0) {
        if matches!(are_usable(&transaction, server, NEXT, log).await?, Usable::Yes) {
            return Ok(());
        }
        transaction.batch_execute(&format!("drop schema {NEXT} cascade")).await.map_err(unreachable)?;
    }
    create_tables(&transaction, NEXT, log, Shape::table).await.map_err(unreachable)?;
    transaction.commit().await.map_err(unreachable)
}

/// Whether a generation was built to its end by these projections.
async fn is_prepared(server: &Server, log: Uuid) -> Result<bool, OpenError> {
    let next = server.with_settings("entrenous views", &[&format!("search_path={NEXT}")]);
    let unreachable = |error: tokio_postgres::Error| server.unreachable(&error);
    let mut client = next.connect().await.map_err(unreachable)?;
    let transaction = client.transaction().await.map_err(unreachable)?;
    let is_there = transaction.query_one(HAS_TABLES, &[]).await.map_err(unreachable)?.get(0);
    Ok(is_there
        && transaction.query_one(IS_PREPARED, &[]).await.map_err(unreachable)?.get(0)
        && matches!(are_usable(&transaction, server, NEXT, log).await?, Usable::Yes))
}

enum Usable {
    Yes,
    OfOtherProjections,
    OfAnotherLog,
}

async fn are_usable(transaction: &Transaction<'_>, server: &Server, place: &str, log: Uuid) -> Result<Usable, OpenError> {
    let stored = transaction.query(queries::CHECKPOINTS, &[]).await.map_err(|error| server.unreachable(&error))?;
    let stored: Result<Vec<StoredCheckpoint>, Unreadable> = stored.iter().map(|row| StoredCheckpoint::read(row)).collect();
    let stored = stored.map_err(|error| OpenError::Damaged { place: place.to_owned(), detail: error.to_string() })?;
    Ok(if stored.iter().any(|stored| stored.log != log) {
        Usable::OfAnotherLog
    } else if are_of_these_shapes(&stored) {
        Usable::Yes
    } else {
        Usable::OfOtherProjections
    })
}

/// Makes a schema, which is the search path's, and the tables in it.
async fn create_tables(transaction: &Transaction<'_>, schema: &str, log: Uuid, with: impl Fn(&Shape) -> String) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&format!("create schema if not exists {schema}")).await?;
    transaction.batch_execute(&adapted(queries::CHECKPOINTS_TABLE)).await?;
    transaction.batch_execute(&adapted(queries::PARKED_TABLE)).await?;
    transaction.batch_execute(PROJECTOR).await?;
    for shape in projections::ALL {
        transaction.batch_execute(&adapted(&with(&shape))).await?;
        let version = i64::from(shape.version);
        transaction.execute(queries::INSERT_CHECKPOINT, &[&shape.name, &log, &Uuid::nil(), &version, &shape.sql]).await?;
    }
    Ok(())
}

/// A projection's SQL in PostgreSQL's words. Texts sort by their bytes in either store.
fn adapted(sql: &str) -> String {
    let column = |line: &str| {
        let name_ends = line.trim_start().find(' ').map_or(0, |name| line.len() - line.trim_start().len() + name);
        let (name, rest) = line.split_at(name_ends);
        if rest.trim_start().starts_with("text") { format!("{name}{}", rest.replacen("text", "text collate \"C\"", 1)) } else { line.to_owned() }
    };
    sql.replace(") without rowid", ")").lines().map(column).collect::<Vec<_>>().join("\n")
}
