CREATE TABLE marks (
    id TEXT PRIMARY KEY, -- made by the page
    kind TEXT NOT NULL,
    verdict TEXT NOT NULL,
    model TEXT NOT NULL, -- of the first answer
    other_model TEXT, -- of the second
    at_ms INTEGER NOT NULL, -- by the clock of the page
    content TEXT NOT NULL -- JSON: prompt, answers, edited
);
CREATE INDEX marks_by_time ON marks (at_ms, id);
CREATE TABLE marks_taken_back (
    id TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
);
