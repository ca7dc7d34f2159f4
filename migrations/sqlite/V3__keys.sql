-- Which key store opens what people wrote; null: none does yet.

alter table log add column keys blob; -- UUID
