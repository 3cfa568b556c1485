CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    lane TEXT NOT NULL,
    verb TEXT NOT NULL,
    arguments TEXT NOT NULL, -- JSON
    title TEXT NOT NULL,
    run TEXT,
    state TEXT NOT NULL DEFAULT 'waiting', -- waiting, started, or how it ended
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    message TEXT
);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE TABLE job_listeners (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (job, name)
);
