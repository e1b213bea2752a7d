"""Channel affines, and the tables of hosts and recognizers that move them."""
