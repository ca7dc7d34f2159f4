-- The event log: the only truth. Appended to, never updated.

create table log (
    only_one integer not null primary key check (only_one = 1),
    id       blob    not null            -- UUID: names this log in the checkpoints made from it
) strict;

create table streams (
    number integer not null primary key,
    name   text    not null unique
) strict;

create table events (
    position    integer not null primary key,  -- dense, from 1
    stream      integer not null references streams (number),
    version     integer not null,              -- dense in its stream, from 1
    id          blob    not null,              -- UUID; a message's id is its event's
    type        text    not null,
    at          integer not null,              -- UTC, microseconds since 1970
    actor       text,                          -- user id; null: the service
    correlation blob    not null,              -- UUID of the request
    causation   blob    not null,              -- UUID of the command
    data        text    not null               -- JSON
) strict;

create unique index events_by_stream on events (stream, version);
create unique index events_by_id on events (id);
