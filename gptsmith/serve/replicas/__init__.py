"""Several processes that serve the same models on one port: one in front passes requests on to the others."""
