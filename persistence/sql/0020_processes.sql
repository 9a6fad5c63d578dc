-- Which process a node is, told so that whoever takes its name over on the same machine can see that
-- it is dead: kernel, pid namespace, pid. NULL where that is not known.
ALTER TABLE nodes ADD COLUMN process text;
