CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL UNIQUE, -- in .studio/data
    path TEXT, -- where its files are, if a person named that; NULL if they were uploaded
    created REAL NOT NULL
);
CREATE TABLE uploads ( -- large files that are not whole yet
    id TEXT PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    num_bytes INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    UNIQUE (collection, path)
);
CREATE TABLE changes ( -- by hand, in the order in which they were made
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    value TEXT NOT NULL, -- JSON
    created REAL NOT NULL
);
CREATE TABLE audits ( -- the last one of each collection
    collection INTEGER PRIMARY KEY REFERENCES collections (id) ON DELETE CASCADE,
    job TEXT NOT NULL,
    file TEXT NOT NULL, -- what it found, in the folder of the collection
    version TEXT NOT NULL -- of the files that it is about
);
