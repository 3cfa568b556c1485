CREATE TABLE plans (
    key TEXT PRIMARY KEY, -- of the words of the command, and of the data and the model as they are
    similar TEXT NOT NULL, -- of the same without the time
    job TEXT NOT NULL,
    figures TEXT, -- JSON, when it is made
    made REAL
);
CREATE INDEX plans_by_similar ON plans (similar);
