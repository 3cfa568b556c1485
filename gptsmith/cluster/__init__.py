"""Training on a cluster of Ray, which places the workers and starts them again when they or their hosts die.

The workers run the ordinary verb, as one of several processes each, and go on from our own checkpoints. Ray is an extra
(`gptsmith[ray]`), imported when `--ray` asks for it.
"""
