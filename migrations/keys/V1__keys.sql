-- The keys of what people write, apart from the log: in a file of its own, or in the schema entrenous_keys.

create table store (
    only_one bigint not null primary key check (only_one = 1),
    id       uuid   not null               -- the log that it belongs to remembers it
);

create table keys (
    id    text not null primary key,       -- what events name it by; made from the key
    owner text not null,                   -- whose texts, names and pictures it seals
    key   bytea                            -- 32 bytes; null: destroyed
);

create unique index keys_in_use on keys (owner) where key is not null;

-- Erasures that were asked for while another process had the log.
create table erasures (
    owner text not null primary key
);
