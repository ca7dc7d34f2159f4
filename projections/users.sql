-- The user directory: a row a registered user.
create table users (
    id          text   not null primary key,
    name        text   not null,
    picture     text,                        -- null: the service's default image
    contactable bigint not null,             -- 1: others may write first
    erased      bigint not null,             -- 1: what they wrote and were called is gone
    member      bigint not null unique,      -- 1 for the first registered
    version     bigint not null,             -- of the user's own stream
    sort_key    bytea  not null,             -- the name, as the root collation orders it
    search_name text   not null,             -- the name without case and accents
    changed     bigint not null,             -- position of the last event that changed the row since the registration, or 0
    erased_at   bigint not null              -- position of the last erasure, or 0
) without rowid;

create index users_by_name on users (sort_key, id);
