//! The SQL that every read store shares. Parameters are `$1, $2…`, first appearing in order.

/// Columns of a user, a conversation row and a message, in the order that [`super::rows`] reads them.
macro_rules! user_columns {
    () => {
        "u.id, u.name, u.picture, u.contactable, u.erased, u.member, u.version, u.sort_key, u.search_name, u.changed, u.erased_at"
    };
}
macro_rules! conversation_columns {
    () => {
        "c.owner, c.contact, c.conversation, c.version, c.sent, c.received, c.read, c.blocked_at, c.listing, c.last_at, c.latest_at, c.changed, c.reshaped, c.removed,
        c.surfaced"
    };
}
macro_rules! message_columns {
    () => {
        "m.conversation, m.number, m.sender_number, m.id, m.sender, m.text, m.sent_at, m.position"
    };
}
/// The number of the last message that the row's owner may see.
macro_rules! last_visible {
    () => {
        "c.sent + coalesce(c.blocked_at, c.received)"
    };
}
/// Columns of a view, in the order that [`super::rows::user_view`] reads them.
macro_rules! view_columns {
    () => {
        concat!(
            "u.id, u.name, u.picture, u.contactable, u.erased, ",
            "c.conversation, c.sent, c.received, c.read, c.blocked_at, c.listing, c.last_at, ",
            message_columns!(),
            ", coalesce((select list_template from section where only_one = 1), 1), u.erased_at"
        )
    };
}
macro_rules! last_message {
    () => {
        concat!("left join messages m on m.conversation = c.conversation and m.number = ", last_visible!(), " and c.listing = 'listed'")
    };
}

pub(super) const COLUMNS_OF_USER: usize = 11;
pub(super) const COLUMNS_OF_CONVERSATION: usize = 15;
pub(super) const COLUMNS_OF_MESSAGE: usize = 8;
pub(super) const COLUMNS_OF_VIEW: usize = 5 + 7 + COLUMNS_OF_MESSAGE + 2;

pub(super) const USER: &str = concat!("select ", user_columns!(), " from users u where u.id = $1");

/// When somebody changed last, and was erased last.
pub(super) const USER_CHANGED: &str = "select changed, erased_at from users where id = $1";

pub(super) const CONVERSATION: &str = concat!("select ", conversation_columns!(), " from conversations c where c.owner = $1 and c.contact = $2");

/// A user, and both rows of a conversation with them, at one moment.
pub(super) const RELATION: &str = concat!(
    "select ",
    user_columns!(),
    ", ",
    conversation_columns!(),
    ", t.owner, t.contact, t.conversation, t.version, t.sent, t.received, t.read, t.blocked_at, t.listing, t.last_at, t.latest_at, t.changed,
        t.reshaped, t.removed, t.surfaced
    from users u
    left join conversations c on c.owner = $1 and c.contact = u.id
    left join conversations t on t.owner = u.id and t.contact = $1
    where u.id = $2"
);

pub(super) const SECTION: &str = "select title, list_template, detail_template, version, changed from section where only_one = 1";

/// A user as a viewer sees them.
pub(super) const VIEW: &str = concat!(
    "select ",
    view_columns!(),
    "
    from users u left join conversations c on c.owner = $1 and c.contact = u.id ",
    last_message!(),
    "
    where u.id = $2"
);

macro_rules! listed {
    ($order:literal) => {
        concat!(
            "select ",
            view_columns!(),
            "
            from conversations c join users u on u.id = c.contact ",
            last_message!(),
            "
            where c.owner = $1 and c.listing = 'listed' and c.blocked = $2
              and (c.last_at, c.conversation) > ($3, $4) and (c.last_at, c.conversation) < ($5, $6)
            order by c.last_at ",
            $order,
            ", c.conversation ",
            $order,
            " limit $7"
        )
    };
}
/// A viewer's list between two places, the blocked and the others apart.
pub(super) const LISTED_OLDEST_FIRST: &str = listed!("asc");
pub(super) const LISTED_NEWEST_FIRST: &str = listed!("desc");

pub(super) const TOTALS: &str = "
    select count(*), cast(coalesce(sum(coalesce(c.blocked_at, c.received) - c.read), 0) as bigint)
    from conversations c where c.owner = $1 and c.listing = 'listed'";

macro_rules! directory {
    ($beyond:literal, $within:literal, $order:literal) => {
        concat!(
            "select ",
            view_columns!(),
            ", u.sort_key
            from users u left join conversations c on c.owner = $1 and c.contact = u.id ",
            last_message!(),
            "
            where u.id <> $1 and u.erased = 0 and u.search_name like $2 escape '!'
              and (cast($3 as bytea) is null or (u.sort_key, u.id) ",
            $beyond,
            " ($3, $4))
              and (cast($5 as bytea) is null or (u.sort_key, u.id) ",
            $within,
            " ($5, $6))
            order by u.sort_key ",
            $order,
            ", u.id ",
            $order,
            " limit $7"
        )
    };
}
/// The directory without the viewer, between two places.
pub(super) const DIRECTORY: &str = directory!(">", "<", "asc");
/// The same from its end; `$3, $4` is the later place.
pub(super) const DIRECTORY_BACKWARDS: &str = directory!("<", ">", "desc");

pub(super) const MESSAGES: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m
    where m.conversation = $1 and m.number between $2 and $3 order by m.number"
);

pub(super) const MESSAGE: &str = concat!("select ", message_columns!(), " from messages m where m.id = $1");

/// The order of the list's index, so that the planner takes it: at most one row is found.
macro_rules! by_the_list {
    () => {
        " order by c.blocked, c.last_at limit 1"
    };
}

/// A message that a viewer may see.
/// A statement names its tables in the order in which [`HOLD`](super::postgres) locks them, so that neither waits for the other for ever.
pub(super) const VISIBLE_MESSAGE: &str = concat!(
    "select ",
    message_columns!(),
    ", c.contact
    from conversations c join messages m on m.conversation = c.conversation
    where c.owner = $1 and m.id = $2 and c.listing = 'listed' and m.number <= ",
    last_visible!(),
    by_the_list!()
);

/// The contact of a viewer's listed conversation.
pub(super) const CONTACT_OF: &str =
    concat!("select c.contact from conversations c where c.conversation = $1 and c.owner = $2 and c.listing = 'listed'", by_the_list!());

/// How far the community's stream is folded, or parked.
pub(super) const MEMBERS: &str = "
    select coalesce(max(reached), 0)
    from (select max(member) as reached from users union all select max(version) from parked where stream = 'community') as members";

pub(super) const USER_IDS: &str = "select id from users where id > $1 order by id limit $2";

pub(super) const REGISTERED: &str = "select id from users where id = $1";

/// Whose lists a user stands in.
pub(super) const LISTED_BY: &str = "
    select c.owner from conversations o cross join conversations c
    where o.owner = $1 and c.owner = o.contact and c.contact = $1 and c.listing = 'listed'";

/// The rows of an owner that changed since, or whose contact did or was erased.
pub(super) const CHANGED_SINCE: &str = concat!(
    "select ",
    conversation_columns!(),
    ", u.changed, u.erased_at
    from conversations c join users u on u.id = c.contact
    where c.owner = $1 and (c.changed > $2 or (u.changed > $2 and c.listing = 'listed'))"
);

/// The newest messages up to a number, the newest first.
pub(super) const NEWEST_MESSAGES: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m
    where m.conversation = $1 and m.number <= $2 order by m.number desc limit $3"
);

macro_rules! upsert_users {
    ($source:literal) => {
        concat!(
            "insert into users (id, name, picture, contactable, erased, member, version, sort_key, search_name, changed, erased_at) ",
            $source,
            "
            on conflict (id) do update set
                name = excluded.name, picture = excluded.picture, contactable = excluded.contactable, erased = excluded.erased, version = excluded.version,
                sort_key = excluded.sort_key, search_name = excluded.search_name, changed = excluded.changed,
                erased_at = excluded.erased_at"
        )
    };
}
macro_rules! upsert_conversations {
    ($source:literal) => {
        concat!(
            "insert into conversations
                (owner, contact, conversation, version, sent, received, read, blocked_at, listing, last_at, latest_at, changed, reshaped, removed,
                 surfaced, blocked) ",
            $source,
            "
            on conflict (owner, contact) do update set
                version = excluded.version, sent = excluded.sent, received = excluded.received, read = excluded.read,
                blocked_at = excluded.blocked_at, listing = excluded.listing, last_at = excluded.last_at, latest_at = excluded.latest_at,
                changed = excluded.changed, reshaped = excluded.reshaped, removed = excluded.removed,
                surfaced = excluded.surfaced, blocked = excluded.blocked"
        )
    };
}
macro_rules! insert_messages {
    ($source:literal) => {
        concat!("insert into messages (conversation, number, sender_number, id, sender, text, sent_at, position) ", $source)
    };
}

pub(super) const UPSERT_USER: &str = upsert_users!("values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
pub(super) const UPSERT_CONVERSATION: &str = upsert_conversations!("values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)");
pub(super) const INSERT_MESSAGE: &str = insert_messages!("values ($1, $2, $3, $4, $5, $6, $7, $8)");

/// The same for arrays of columns, where the store has arrays.
pub(super) mod bulk {
    pub(in super::super) const USERS: &str = concat!("select ", user_columns!(), " from users u where u.id = any($1)");
    pub(in super::super) const CONVERSATIONS: &str = concat!(
        "select ",
        conversation_columns!(),
        " from unnest($1::text[], $2::text[]) as k (owner, contact)
        join conversations c on c.owner = k.owner and c.contact = k.contact"
    );
    pub(in super::super) const UPSERT_USERS: &str = upsert_users!(
        "select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::text[], $10::bigint[],
            $11::bigint[])"
    );
    pub(in super::super) const UPSERT_CONVERSATIONS: &str = upsert_conversations!(
        "select * from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[],
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[])"
    );
    pub(in super::super) const COPY_MESSAGES: &str =
        "copy messages (conversation, number, sender_number, id, sender, text, sent_at, position) from stdin binary";
    pub(in super::super) const INSERT_MESSAGES: &str =
        insert_messages!("select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])");
}

pub(super) const UPSERT_SECTION: &str = "
    insert into section (only_one, title, list_template, detail_template, version, changed)
    values (1, $1, $2, $3, $4, $5)
    on conflict (only_one) do update set
        title = excluded.title, list_template = excluded.list_template, detail_template = excluded.detail_template,
        version = excluded.version, changed = excluded.changed";

/// Where each projection stands, and in which log.
pub(super) const CHECKPOINTS_TABLE: &str = "
    create table checkpoints (
        projection text   not null primary key,
        log        uuid   not null,
        position   bigint not null,
        event      uuid   not null,
        version    bigint not null,
        sql        text   not null
    ) without rowid";

pub(super) const CHECKPOINTS: &str = "select projection, log, position, event, version, sql from checkpoints order by projection";

pub(super) const INSERT_CHECKPOINT: &str = "insert into checkpoints (projection, log, position, event, version, sql) values ($1, $2, 0, $3, $4, $5)";

pub(super) const ADVANCE: &str = "update checkpoints set position = $1, event = $2";

/// Whose events cannot be folded.
pub(super) const PARKED_TABLE: &str = "
    create table if not exists parked (
        entity   text   not null primary key, -- its stream; of the community's, with the version
        stream   text   not null,
        version  bigint not null,             -- in its stream, of the first event that is not folded
        position bigint not null,             -- of that event
        event    uuid   not null,             -- its id
        reason   text   not null,
        retried  bigint not null              -- 1: somebody asks for another attempt
    ) without rowid";

pub(super) const PARKED: &str = "select entity, stream, version, position, event, reason, retried from parked order by position";

pub(super) const COUNT_PARKED: &str = "select count(*) from parked";

pub(super) const PARK: &str = "
    insert into parked (entity, stream, version, position, event, reason, retried) values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (entity) do update set
        version = excluded.version, position = excluded.position, event = excluded.event, reason = excluded.reason, retried = excluded.retried";

pub(super) const HEAL: &str = "delete from parked where entity = $1";

/// The texts that somebody wrote before they were erased, in the conversations that they have.
pub(super) const ERASE_MESSAGES: &str = "
    update messages set text = $1
    where sender = $2 and position < $3 and conversation in (select c.conversation from conversations c where c.owner = $2)";

/// Asks for another attempt: for one entity, or for all.
pub(super) const RETRY: &str = "update parked set retried = 1 where cast($1 as text) is null or entity = $1";

/// All projections of a store advance together.
pub(super) const CHECKPOINT: &str = "select position, event from checkpoints order by position limit 1";
