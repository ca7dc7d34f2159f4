-- The event log: the only truth. Appended to, never updated. In the schema entrenous_log.

create table log (
    only_one bigint not null primary key check (only_one = 1),
    id       uuid   not null,              -- names this log in the checkpoints made from it
    epoch    bigint not null,              -- of the writer session that began last
    streams  bigint not null,              -- the number of the last stream
    head     bigint not null,              -- the position of the last event; locked by whoever appends
    at       bigint not null               -- its time
);

create table writers (
    epoch bigint      not null primary key,
    node  uuid        not null,
    pid   integer     not null,            -- of the session's process in the server
    since timestamptz not null
);

create table streams (
    number  bigint           not null primary key,
    name    text collate "C" not null unique,
    version bigint           not null      -- of the last event
);

create table events (
    position    bigint not null primary key,  -- dense, from 1
    stream      bigint not null,              -- the number of its stream
    version     bigint not null,              -- dense in its stream, from 1
    id          uuid   not null,              -- a message's id is its event's
    type        text   not null,
    at          bigint not null,              -- UTC, microseconds since 1970
    actor       text,                         -- user id; null: the service
    correlation uuid   not null,              -- of the request
    causation   uuid   not null,              -- of the command
    data        text   not null               -- JSON
);

create unique index events_by_stream on events (stream, version);
create unique index events_by_id on events (id);
