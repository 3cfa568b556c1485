"""Training in the studio: how long, on what and from which model; the plan with honest advice; and the start."""
