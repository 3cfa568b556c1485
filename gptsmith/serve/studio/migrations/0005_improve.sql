CREATE TABLE improvements (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    model TEXT NOT NULL, -- whose answers were marked
    run TEXT NOT NULL UNIQUE, -- the improved one
    recipe TEXT NOT NULL, -- JSON
    arguments TEXT NOT NULL, -- JSON, of the job that trains
    state TEXT NOT NULL, -- prepared, training, failed, cancelled, judging, stopped, better, worse, alike
    job TEXT,
    default_before TEXT, -- JSON, the default model before the improved one became it; NULL if it did not, or was undone
    is_undone INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE improvement_prompts (
    improvement TEXT NOT NULL REFERENCES improvements (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    source TEXT NOT NULL, -- marks, examples, typed
    messages TEXT NOT NULL, -- JSON
    PRIMARY KEY (improvement, number)
);
CREATE TABLE improvement_pairs (
    improvement TEXT NOT NULL REFERENCES improvements (id) ON DELETE CASCADE,
    number INTEGER NOT NULL, -- the seed of both answers
    prompt INTEGER NOT NULL,
    old_answer TEXT NOT NULL,
    new_answer TEXT NOT NULL,
    is_new_first INTEGER NOT NULL, -- tossed when the pair was written
    choice TEXT, -- first, second or same; NULL until it is judged
    judged REAL,
    PRIMARY KEY (improvement, number)
);
