-- Which release a node is of: who looks after several sees how far a deploy has come.
ALTER TABLE nodes ADD COLUMN version TEXT;
