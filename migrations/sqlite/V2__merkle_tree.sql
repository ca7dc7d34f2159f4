-- What makes tampering evident: each event's leaf, as it was appended, and the tree's frontier.

alter table events add column hash blob; -- SHA-256 of its Merkle leaf; null: appended before leaves were kept

create table merkle (
    only_one integer not null primary key check (only_one = 1),
    size     integer not null,            -- how many events the tree is made of, from the first
    frontier blob    not null             -- the roots of its full subtrees, 32 bytes each, the largest first
) strict;

insert into merkle (only_one, size, frontier) values (1, 0, x'');
