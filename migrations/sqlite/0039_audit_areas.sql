-- What people do by hand about more than money is written down beside it: each line says what it is about.
ALTER TABLE money_audit ADD COLUMN area TEXT NOT NULL DEFAULT 'money';
CREATE INDEX money_audit_area_idx ON money_audit (area, id);
