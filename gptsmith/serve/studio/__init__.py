"""The studio: everything that the program can do, in pages for people without a terminal."""
