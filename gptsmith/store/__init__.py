"""Object stores (`s3://`, `gs://`, `memory://`): whole objects, one writer, folders with a manifest last. No torch."""
