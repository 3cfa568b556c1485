"""Why a model writes what it writes: claims that are tested on the model itself."""
