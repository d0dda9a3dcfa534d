//! Finds out what each recorder holds and whether it lives.
