-- A stream's version is that of its last event, found by the index; nothing else has to be kept in step with it.

alter table streams drop column version;
