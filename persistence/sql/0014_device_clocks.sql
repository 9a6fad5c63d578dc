-- How far a device's clock is behind ours, as measured when it last told its time.
ALTER TABLE devices ADD COLUMN clock_offset_ms bigint;
