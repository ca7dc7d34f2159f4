-- The histories: a row a message, whoever may see it.
create table messages (
    conversation  uuid   not null,
    number        bigint not null,           -- place in the conversation, from 1
    sender_number bigint not null,           -- place among its sender's own, from 1
    id            uuid   not null,
    sender        text   not null,
    sent_at       bigint not null,           -- microseconds since 1970
    position      bigint not null,           -- of its event in the log
    text          text   not null,
    primary key (conversation, number)
) without rowid;

create unique index messages_by_id on messages (id);
