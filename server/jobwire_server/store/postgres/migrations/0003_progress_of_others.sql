-- Progress is no event: it stands in the job's row, and whoever hears of it tells the watchers that are connected to it.
-- This tells the other servers that there is something to read. Hints, for a few seconds: no WAL, nothing after a crash.
CREATE UNLOGGED TABLE jobwire.progress (
  mark bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key bigint NOT NULL,
  server text COLLATE "C" NOT NULL
);
