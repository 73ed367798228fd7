"""Information-theoretic pruning and compression whose numbers hold."""
