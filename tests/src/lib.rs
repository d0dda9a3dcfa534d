//! What the end-to-end tests share: starting recorders and players, reading the burned-in clock.
