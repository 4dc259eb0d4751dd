"""What runs by itself over a workspace: train, validate, rank and round; models, the queue's order, the worker."""
