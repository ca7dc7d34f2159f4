-- What makes tampering evident: each event's leaf, as it was appended, and the tree's frontier.

alter table events add column hash bytea; -- SHA-256 of its Merkle leaf; null: appended before leaves were kept

alter table log
    add column tree_size bigint not null default 0,   -- how many events the tree is made of, from the first
    add column frontier  bytea  not null default '';  -- the roots of its full subtrees, 32 bytes each, the largest first
