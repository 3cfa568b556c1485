"""The runs of a studio: the folders that the terminal reads and writes as well."""
