"""Hyperparameter search: trials on validation data, sampled and pruned by Optuna."""
