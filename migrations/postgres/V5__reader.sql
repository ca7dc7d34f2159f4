-- Which version has read all of the log, by the hash of what it reads events with; null: not known.

alter table log add column reader text;
