"""Taking models along: copies for other programs, and downloads."""
