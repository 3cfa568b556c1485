"""Why a model wrote this and not that: claims, each with a test on the very model that answered."""
