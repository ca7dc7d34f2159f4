-- How far an erasure is, which a crash may cut short.

-- The key is destroyed, and the log may not say so yet.
alter table erasures add column begun boolean not null default false;
-- The log and the views say so; views of before are left.
alter table erasures add column told boolean not null default false;
