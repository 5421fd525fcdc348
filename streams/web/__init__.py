"""What processes have in common over HTTP: how they serve, say how they are, and sign."""
