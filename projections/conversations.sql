-- Conversations as each of their two users has them: two rows a conversation.
create table conversations (
    owner        text   not null,
    contact      text   not null,
    conversation uuid   not null,
    version      bigint not null,            -- of the conversation's stream
    sent         bigint not null,            -- the owner's own messages
    received     bigint not null,            -- the contact's, the withheld ones too
    read         bigint not null,            -- how many of the contact's the owner has read
    blocked_at   bigint,                     -- while the owner blocks: what received was when the block began
    listing      text   not null,            -- absent, listed, deleted, deleted_while_blocked
    last_at      bigint,                     -- microseconds since 1970: the last message the owner may see
    latest_at    bigint,                     -- the same, withheld or not
    changed      bigint not null,            -- position of the last event that the owner could notice
    reshaped     bigint not null,            -- the last of them that was no message
    removed      bigint not null,            -- the owner's last deletion
    surfaced     text   not null,            -- numbers of messages that the owner's unblocks revealed, such as 4-9 12-12
    blocked      bigint not null,            -- 1: blocked_at is set; for the order of the list
    primary key (owner, contact)
) without rowid;

create index conversations_listed on conversations (owner, blocked, last_at, conversation) where listing = 'listed';
