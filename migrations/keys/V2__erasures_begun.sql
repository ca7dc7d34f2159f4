-- An erasure that a crash cut short: the key is destroyed, and the log may not say so yet.

alter table erasures add column begun boolean not null default false;
