"""Pictures of training and of what a network does, with matplotlib; each returns its figure."""
