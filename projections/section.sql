-- The chat section: one row, or none while nobody configured it.
create table section (
    only_one        bigint not null primary key check (only_one = 1),
    title           text   not null,
    list_template   bigint not null,
    detail_template bigint not null,
    version         bigint not null,         -- of the section's stream
    changed         bigint not null          -- position of the last event that changed the row
) without rowid;
