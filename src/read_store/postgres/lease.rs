//! The lease: the right to fold, and what it writes. Every write checks, in its own transaction, that the lease holds.

use std::sync::Arc;

use futures_util::future::{join, join3, join5, try_join3};
use tokio::sync::watch;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::{failed, is_seen};
use crate::domain::ids::UserId;
use crate::domain::text::MessageText;
use crate::postgres::{self, Ended, Parameters};
use crate::projections::conversations::ConversationRow;
use crate::projections::messages::MessageRow;
use crate::projections::section::SectionRow;
use crate::projections::users::UserRow;
use crate::read_store::{Checkpoint, ParkedEntity, Rows, StoreError, Touched, queries, rows};

/// Who is in the middle of a transaction that it writes in leads, however long that takes: silent in it, it would lose it.
const LEAD: &str = concat!(
    "update projector set epoch = epoch + 1, node = $1, seen = clock_timestamp()
    where only_one = (select only_one from projector where node is null or node = $1 or not (",
    is_seen!(),
    ") for update skip locked) returning epoch"
);
const FENCE: &str = "select fence($1)";
const RELEASE: &str = "update projector set node = null where epoch = $1";
/// Rows written at once, of many.
const CHUNK: usize = 10_000;
const NOTIFY: &str = "select pg_notify('entrenous_views', $1)";

/// The right to fold, and the connection that it is held by.
pub(in crate::read_store) struct PostgresLease {
    epoch: i64,
    client: Client,
    ended: Ended,
    statements: Statements,
    checkpoint: Arc<watch::Sender<Checkpoint>>,
}

/// What a lease's connection has prepared.
struct Statements {
    users: Statement,
    conversations: Statement,
    section: Statement,
    fence: Statement,
    upsert_users: Statement,
    upsert_conversations: Statement,
    insert_messages: Statement,
    upsert_section: Statement,
    advance: Statement,
    notify: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            users: client.prepare(queries::bulk::USERS).await?,
            conversations: client.prepare(queries::bulk::CONVERSATIONS).await?,
            section: client.prepare(queries::SECTION).await?,
            fence: client.prepare(FENCE).await?,
            upsert_users: client.prepare(queries::bulk::UPSERT_USERS).await?,
            upsert_conversations: client.prepare(queries::bulk::UPSERT_CONVERSATIONS).await?,
            insert_messages: client.prepare(queries::bulk::INSERT_MESSAGES).await?,
            upsert_section: client.prepare(queries::UPSERT_SECTION).await?,
            advance: client.prepare(queries::ADVANCE).await?,
            notify: client.prepare(NOTIFY).await?,
        })
    }
}

impl PostgresLease {
    /// Takes it for a node; none where it is another's.
    pub(super) async fn take(client: Client, ended: Ended, node: Uuid, checkpoint: Arc<watch::Sender<Checkpoint>>) -> Result<Option<Self>, StoreError> {
        let Some(led) = client.query_opt(LEAD, &[&node]).await.map_err(|error| failed(&error))? else { return Ok(None) };
        let statements = Statements::prepare(&client).await.map_err(|error| failed(&error))?;
        Ok(Some(Self { epoch: led.get(0), client, ended, statements, checkpoint }))
    }

    pub(in crate::read_store) async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let row = self.client.query_one(queries::CHECKPOINT, &[]).await.map_err(|error| failed(&error))?;
        Ok(rows::checkpoint(&row)?)
    }

    pub(in crate::read_store) async fn load(&self, touched: Touched) -> Result<Rows, StoreError> {
        let (client, statements) = (&self.client, &self.statements);
        let users: Vec<&str> = touched.users.iter().map(UserId::as_str).collect();
        let (owners, contacts): (Vec<&str>, Vec<&str>) = touched.conversations.iter().map(|(owner, contact)| (owner.as_str(), contact.as_str())).unzip();
        let users = async { if users.is_empty() { Ok(vec![]) } else { client.query(&statements.users, &[&users]).await } };
        let conversations = async { if owners.is_empty() { Ok(vec![]) } else { client.query(&statements.conversations, &[&owners, &contacts]).await } };
        let section = async { if touched.section { client.query_opt(&statements.section, &[]).await } else { Ok(None) } };
        let (users, conversations, section) = try_join3(users, conversations, section).await.map_err(|error| failed(&error))?;
        Ok(Rows {
            users: users.iter().map(|row| rows::user(row)).collect::<Result<_, _>>()?,
            conversations: conversations.iter().map(|row| rows::conversation(row)).collect::<Result<_, _>>()?,
            section: section.as_ref().map(|row| rows::section(row)).transpose()?,
            ..Rows::default()
        })
    }

    pub(in crate::read_store) async fn parked(&self) -> Result<Vec<ParkedEntity>, StoreError> {
        let found = self.client.query(queries::PARKED, &[]).await.map_err(|error| failed(&error))?;
        found.iter().map(|row| ParkedEntity::read(row).map_err(StoreError::from)).collect()
    }

    async fn write_parked(&self, parked: &[ParkedEntity], healed: &[String]) -> Result<(), tokio_postgres::Error> {
        for ParkedEntity { entity, stream, version, position, event, reason, is_retried } in parked {
            let (version, position, is_retried) = (integer(*version), integer(position.0), i64::from(*is_retried));
            let columns: Parameters<'_, 7> = [entity, stream, &version, &position, event, reason, &is_retried];
            self.client.execute(queries::PARK, &columns).await?;
        }
        for entity in healed {
            self.client.execute(queries::HEAL, &[entity]).await?;
        }
        Ok(())
    }

    /// Everything goes to the server at once. It is the fence that makes the rest, and the commit, come to
    /// nothing where the lease is another's.
    pub(in crate::read_store) async fn apply(&self, changed: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        if !changed.parked.is_empty() || !changed.healed.is_empty() || !changed.erased.is_empty() {
            return self.apply_many(changed, checkpoint).await;
        }
        let (client, statements) = (&self.client, &self.statements);
        let begin = async {
            let opened = client.batch_execute("begin");
            let epoch: Parameters<'_, 1> = [&self.epoch];
            let fence = client.execute(&statements.fence, &epoch);
            let (opened, fence) = join(opened, fence).await;
            opened.and(fence.map(|_| ()))
        };
        let (position, said) = (integer(checkpoint.position.0), checkpoint.position.0.to_string());
        let news: Parameters<'_, 1> = [&said];
        let advance: Parameters<'_, 2> = [&position, &checkpoint.event];
        let end = async {
            let advanced = client.execute(&statements.advance, &advance);
            let notified = client.execute(&statements.notify, &news);
            let (advanced, notified, committed) = join3(advanced, notified, client.batch_execute("commit")).await;
            advanced.and(notified).and(committed)
        };
        let (fenced, users, conversations, messages, ended) = join5(
            begin,
            self.write_users(&changed.users),
            self.write_conversations(&changed.conversations),
            self.write_messages_and_section(&changed.messages, changed.section.as_ref()),
            end,
        )
        .await;
        fenced.and(users).and(conversations).and(messages).and(ended).map_err(|error| failed(&error))?;
        self.checkpoint.send_replace(checkpoint);
        Ok(changed)
    }

    /// The same for any number of rows, whose messages there are none of yet.
    pub(in crate::read_store) async fn apply_many(&self, changed: Rows, checkpoint: Checkpoint) -> Result<Rows, StoreError> {
        let written = async {
            self.client.batch_execute("begin").await?;
            self.client.execute(&self.statements.fence, &[&self.epoch]).await?;
            for (user, at) in &changed.erased {
                self.client.execute(queries::ERASE_MESSAGES, &[&MessageText::erased().as_str(), &user.as_str(), &integer(at.0)]).await?;
            }
            self.copy_messages(&changed.messages).await?;
            for users in changed.users.chunks(CHUNK) {
                self.write_users(users).await?;
            }
            for conversations in changed.conversations.chunks(CHUNK) {
                self.write_conversations(conversations).await?;
            }
            self.write_messages_and_section(&[], changed.section.as_ref()).await?;
            self.write_parked(&changed.parked, &changed.healed).await?;
            self.client.execute(&self.statements.advance, &[&integer(checkpoint.position.0), &checkpoint.event]).await?;
            self.client.execute(&self.statements.notify, &[&checkpoint.position.0.to_string()]).await?;
            // It may have taken long: whoever leads was seen now, not when it began.
            self.client.execute(&self.statements.fence, &[&self.epoch]).await?;
            self.client.batch_execute("commit").await
        };
        written.await.map_err(|error: tokio_postgres::Error| failed(&error))?;
        self.checkpoint.send_replace(checkpoint);
        Ok(changed)
    }

    async fn copy_messages(&self, messages: &[MessageRow]) -> Result<(), tokio_postgres::Error> {
        const TYPES: [Type; 8] = [Type::UUID, Type::INT8, Type::INT8, Type::UUID, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
        let writer = BinaryCopyInWriter::new(self.client.copy_in(queries::bulk::COPY_MESSAGES).await?, &TYPES);
        let mut writer = std::pin::pin!(writer);
        for row in messages {
            let (number, sender_number, position) = (integer(row.number), integer(row.sender_number), integer(row.position.0));
            let columns: Parameters<'_, 8> =
                [&row.conversation.0, &number, &sender_number, &row.id.0, &row.sender.as_str(), &row.text.as_str(), &row.sent_at.0, &position];
            writer.as_mut().write(&columns).await?;
        }
        writer.finish().await.map(|_| ())
    }

    async fn write_users(&self, users: &[UserRow]) -> Result<(), tokio_postgres::Error> {
        if users.is_empty() {
            return Ok(());
        }
        let each = Each(users);
        let (ids, names) = (each.of(|row| row.id.as_str()), each.of(|row| row.user.profile.name.as_str()));
        let pictures = each.of(|row| row.user.profile.picture.as_ref().map(crate::domain::profile::Picture::as_str));
        let (contactable, erased) = (each.of(|row| i64::from(row.user.contactable)), each.of(|row| i64::from(row.user.erased)));
        let (members, versions) = (each.of(|row| integer(row.member)), each.of(|row| integer(row.version)));
        let (sort_keys, search_names, changed) = (each.of(|row| &*row.sort_key), each.of(|row| &*row.search_name), each.of(|row| integer(row.changed.0)));
        let erased_at = each.of(|row| integer(row.erased_at.0));
        let columns: Parameters<'_, 11> =
            [&ids, &names, &pictures, &contactable, &erased, &members, &versions, &sort_keys, &search_names, &changed, &erased_at];
        self.client.execute(&self.statements.upsert_users, &columns).await.map(|_| ())
    }

    async fn write_conversations(&self, conversations: &[ConversationRow]) -> Result<(), tokio_postgres::Error> {
        if conversations.is_empty() {
            return Ok(());
        }
        let each = Each(conversations);
        let (owners, contacts, ids) = (each.of(|row| row.owner.as_str()), each.of(|row| row.contact.as_str()), each.of(|row| row.conversation.0));
        let (versions, sent, received) =
            (each.of(|row| integer(row.version)), each.of(|row| integer(row.side.sent)), each.of(|row| integer(row.side.received)));
        let (read, blocked_at) = (each.of(|row| integer(row.side.read)), each.of(|row| row.side.blocked_at.map(integer)));
        let (listings, last_at) = (each.of(|row| rows::listing_name(row.side.listing)), each.of(|row| row.last_at.map(|at| at.0)));
        let (latest_at, changed) = (each.of(|row| row.latest_at.map(|at| at.0)), each.of(|row| integer(row.changed.0)));
        let (reshaped, removed) = (each.of(|row| integer(row.reshaped.0)), each.of(|row| integer(row.removed.0)));
        let surfaced = each.of(|row| row.surfaced.to_string());
        let blocked = each.of(|row| i64::from(row.side.is_blocking()));
        let columns: Parameters<'_, 16> = [
            &owners,
            &contacts,
            &ids,
            &versions,
            &sent,
            &received,
            &read,
            &blocked_at,
            &listings,
            &last_at,
            &latest_at,
            &changed,
            &reshaped,
            &removed,
            &surfaced,
            &blocked,
        ];
        self.client.execute(&self.statements.upsert_conversations, &columns).await.map(|_| ())
    }

    async fn write_messages_and_section(&self, messages: &[MessageRow], section: Option<&SectionRow>) -> Result<(), tokio_postgres::Error> {
        let each = Each(messages);
        let (conversations, numbers) = (each.of(|row| row.conversation.0), each.of(|row| integer(row.number)));
        let (sender_numbers, ids) = (each.of(|row| integer(row.sender_number)), each.of(|row| row.id.0));
        let (senders, texts) = (each.of(|row| row.sender.as_str()), each.of(|row| row.text.as_str()));
        let (times, positions) = (each.of(|row| row.sent_at.0), each.of(|row| integer(row.position.0)));
        let columns: Parameters<'_, 8> = [&conversations, &numbers, &sender_numbers, &ids, &senders, &texts, &times, &positions];
        let insert = async { if messages.is_empty() { Ok(0) } else { self.client.execute(&self.statements.insert_messages, &columns).await } };
        let upsert = async {
            let Some(SectionRow { section, version, changed }) = section else { return Ok(0) };
            let (list, detail) = (i64::from(section.list_template.number()), i64::from(section.detail_template.number()));
            let values: Parameters<'_, 5> = [&section.title.as_str(), &list, &detail, &integer(*version), &integer(changed.0)];
            self.client.execute(&self.statements.upsert_section, &values).await
        };
        let (inserted, upserted) = join(insert, upsert).await;
        inserted.and(upserted).map(|_| ())
    }

    pub(in crate::read_store) async fn renew(&self) -> Result<(), StoreError> {
        self.client.execute(&self.statements.fence, &[&self.epoch]).await.map(|_| ()).map_err(|error| failed(&error))
    }

    pub(in crate::read_store) async fn lost(&self) {
        self.ended.wait().await;
    }

    pub(in crate::read_store) async fn release(self) {
        if let Err(error) = self.client.execute(RELEASE, &[&self.epoch]).await {
            tracing::debug!(reason = postgres::reason(&error), "the lease was not released; it runs out by itself");
        }
    }
}

/// One column of some rows, as an array.
struct Each<'a, R>(&'a [R]);

impl<'a, R> Each<'a, R> {
    fn of<T>(&self, column: impl Fn(&'a R) -> T) -> Vec<T> {
        self.0.iter().map(column).collect()
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).expect("positions and counts grow by one")
}
