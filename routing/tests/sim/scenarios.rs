//! One story at a time.
