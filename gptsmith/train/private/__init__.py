"""Differentially private training (Abadi et al. 2016): the gradient of each unit of the data is clipped, noise is added
to their sum, and an accountant says what the trained weights can give away of any one unit.

A unit is an example or a document. Each is in a step by a coin of its own (Poisson sampling), and nothing else that the
weights depend on may read the data: see `leaks`.
"""
