"""Training: the loop, its step, its schedule, optimizers and objectives."""
