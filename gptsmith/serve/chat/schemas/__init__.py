"""The parts of requests that the schemas of all APIs share."""
