"""Why a model wrote a word, and where it stands in what the model learnt from."""
