"""What every room stands on: errors, settings, kinds, files, the console and the run log. No torch."""
