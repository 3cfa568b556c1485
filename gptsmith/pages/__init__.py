"""Pages and reports: one shell, and charts, that need nothing but the file they are in."""
