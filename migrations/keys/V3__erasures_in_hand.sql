-- Who has an erasure in hand: named anew whenever it is begun, so that whoever was overtaken ends nothing.
alter table erasures add column attempt uuid;
