"""Preparation of a text in several processes, on one machine or on many: datatrove runs the steps.

A step is `step(documents, rank, world)`, as datatrove has it. Four follow upon each other: the files are read, each
task its share; the texts are joined, deduplicated and split, and the tokenizer is trained; texts are encoded, each task
its share; the tokens are joined, and the manifest is written. Steps meet in a working folder that all of them see.
Shares depend on the text alone, so that the result is the same, byte for byte, for any number of processes.
"""
