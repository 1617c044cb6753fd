"""What one step of a sequence is drawn from: a chain of columns, each of one kind."""
